"""Energy of a service as users see it: joules and cost of its requests in the last hour."""

from collections.abc import Sequence

from wattline_protocol.ids import Now
from wattline_protocol.job.spec import WHOLE_GPU
from wattline_protocol.views.service_views import EnergyView
from wattline_protocol.wire.bounds import encodable
from wattline_protocol.wire.rollouts import NO_ENERGY
from wattline_scheduler.core.model.jobs.job import Attempt, Job
from wattline_scheduler.core.model.state import State

UJ_PER_J = 1e6
J_PER_KWH = 3.6e6


def energy_view(state: State, name: str, jobs: Sequence[Job], now: Now) -> EnergyView | None:
    """None: not measured."""
    energy, seconds = state.energy.last_hour(name, [job.id for job in jobs], now)
    if energy == NO_ENERGY:
        return None
    requests_j, idle_j = energy.requests_uj / UJ_PER_J, energy.idle_uj / UJ_PER_J
    all_j = _per_1000(requests_j + idle_j, energy.outputs)
    price = state.site.tariff.usd_per_kwh
    return EnergyView(
        seconds=seconds,
        requests_j=requests_j,
        idle_j=idle_j,
        outputs=energy.outputs,
        tokens=encodable(energy.tokens),
        per_1000_requests_j=_per_1000(requests_j, energy.outputs),
        per_1000_requests_with_idle_j=all_j,
        per_1000_tokens_j=_per_1000(requests_j, energy.tokens),
        per_1000_requests_usd=None if all_j is None or not price else all_j * price / J_PER_KWH,
    )


def _per_1000(energy_j: float, count: int) -> float | None:
    return energy_j / count * 1000 if count else None


def worker_joules(attempt: Attempt) -> float | None:
    """Energy of its GPUs since its start, as its agent has booked it; None: it has none, or none is
    reported."""
    energy_mj = attempt.usage.gpu_energy_mj
    return energy_mj / 1000 if energy_mj else None


def gpu_memory_bytes(state: State, attempt: Attempt) -> int | None:
    """In use on its GPUs, where it has them alone."""
    beat = state.nodes[attempt.node].beat
    if beat is None or not attempt.record.gpus or attempt.gpu_milli < WHOLE_GPU:
        return None
    used = {sample.index: sample.memory_used_bytes for sample in beat.gpus}
    known = [used.get(index) for index in attempt.record.gpus]
    return None if None in known else encodable(sum(one for one in known if one is not None))
