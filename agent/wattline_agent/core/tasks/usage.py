"""Usage of attempts: energy and cap-bound time from the GPUs' counters, the rest from the keeper.

Counters and the usage booked up to them are saved as one snapshot, so an agent that restarts books
the time of its absence to the attempt that kept running.
"""

from collections.abc import Mapping

import msgspec

from wattline_agent.core.durable import AttemptUsage, UsageState
from wattline_agent.core.model import NodeState
from wattline_agent.core.ports import HostReading, TaskSeen
from wattline_agent.core.power.gpus import Step
from wattline_agent.core.tasks.attempt import Attempt
from wattline_protocol.ids import GpuIndex, TaskRef
from wattline_protocol.job.spec import WHOLE_GPU
from wattline_protocol.site.wall_power import PERMILLE, wall_mw
from wattline_protocol.wire.agent_messages import TaskUsage

MODEL_BASE_PERMILLE = 400
"""Modelled non-GPU load of an idle host, as a share of its worst case; the rest follows the CPU."""


def take_run(attempt: Attempt, seen: TaskSeen, host_cpus: int) -> None:
    """The keeper's figures are cumulative already. A keeper that replaced a dead one lacks the
    figures of its predecessor; those recorded before remain valid."""
    usage = attempt.usage
    run_s = max(usage.run_s, seen.run_s)
    attempt.usage = msgspec.structs.replace(
        usage,
        run_s=run_s,
        gpu_s=run_s * len(attempt.gpus) * attempt.share_permille / WHOLE_GPU,
        cpu_s=max(usage.cpu_s, seen.cpu_s),
        max_rss_bytes=max(usage.max_rss_bytes, seen.max_rss_bytes),
        cpu_capacity_s=run_s * (attempt.order.cpus or host_cpus),
    )


def book(
    state: NodeState,
    steps: Mapping[GpuIndex, Step],
    use: Mapping[GpuIndex, Mapping[TaskRef, int]],
) -> None:
    """Book the GPUs' usage since the last sample to the attempts allocated to them.

    An attempt that ended since the last sample gets its last step too.
    """
    due = [a for a in state.attempts.values() if a.is_alive or a.is_metered]
    by_gpu: dict[GpuIndex, list[Attempt]] = {}
    for attempt in due:
        attempt.is_metered = attempt.is_alive
        for index in attempt.gpus:
            by_gpu.setdefault(index, []).append(attempt)
    parts = {
        (attempt.ref, index): part
        for index, holders in by_gpu.items()
        if index in steps
        for attempt, part in zip(
            holders, divided(steps[index], holders, use.get(index, {})), strict=True
        )
    }
    for attempt in due:
        mine = [parts[attempt.ref, i] for i in attempt.gpus if (attempt.ref, i) in parts]
        if mine:
            _book_steps(state, attempt, mine)


def divided(step: Step, holders: list[Attempt], use: Mapping[TaskRef, int]) -> list[Step]:
    """Divide a GPU's step among its attempts; energy adds up to the millijoule.

    By utilisation where the driver reports it; else by share, without frozen attempts. Cap-bound
    time is divided as GPU time is.
    """
    weights = [use.get(attempt.ref, 0) for attempt in holders]
    if not any(weights):
        weights = [0 if attempt.is_frozen else attempt.share_permille for attempt in holders]
    if not any(weights):
        weights = [attempt.share_permille for attempt in holders]
    total, upto, parts = sum(weights), 0, []
    for attempt, weight in zip(holders, weights, strict=True):
        before_mj = step.energy_mj * upto // total
        upto += weight
        parts.append(
            Step(
                seconds=step.seconds,
                energy_mj=step.energy_mj * upto // total - before_mj,
                cap_bound_s=step.cap_bound_s * attempt.share_permille / WHOLE_GPU,
                util=step.util * weight / total,
                cap_mw=step.cap_mw,
            )
        )
    return parts


def _book_steps(state: NodeState, attempt: Attempt, mine: list[Step]) -> None:
    usage, capped = attempt.usage, [step for step in mine if step.cap_mw is not None]
    gpu_mj = sum(step.energy_mj for step in mine)
    seconds = max(step.seconds for step in mine)
    managed = sum(1 for gpu in state.gpus if gpu.is_managed) or 1
    held_permille = len(attempt.gpus) * attempt.share_permille
    share_mj = round(non_gpu_mw(state) * seconds * held_permille / (managed * WHOLE_GPU))
    attempt.usage = msgspec.structs.replace(
        usage,
        gpu_energy_mj=usage.gpu_energy_mj + gpu_mj,
        node_energy_mj=usage.node_energy_mj + at_wall(state, gpu_mj + share_mj),
        util_gpu_s=usage.util_gpu_s + sum(step.util * step.seconds for step in mine),
        cap_bound_gpu_s=usage.cap_bound_gpu_s + sum(step.cap_bound_s for step in mine),
        cap_gpu_s=usage.cap_gpu_s + sum(step.seconds for step in capped),
        cap_gpu_mj=usage.cap_gpu_mj + round(sum(s.seconds * (s.cap_mw or 0) for s in capped)),
        **_host_use(state.host, usage, seconds),
    )


def _host_use(host: HostReading, usage: TaskUsage, seconds: float) -> dict[str, float]:
    """What the host shows of its disks and links, to judge what GPUs wait for."""
    more = {}
    if host.disk_busy is not None:
        more["disk_s"] = usage.disk_s + seconds
        more["disk_busy_s"] = usage.disk_busy_s + seconds * host.disk_busy
    if host.network_busy is not None:
        more["network_s"] = usage.network_s + seconds
        more["network_busy_s"] = usage.network_busy_s + seconds * host.network_busy
    return more


def at_wall(state: NodeState, load: int) -> int:
    """Load behind the power supplies as wall power (or energy, in the same unit)."""
    terms = state.file.terms
    return wall_mw(load, terms.psu_efficiency_permille if terms is not None else PERMILLE)


def non_gpu_mw(state: NodeState) -> int:
    """Load of everything but the GPUs: measured, or modelled from the worst case and the CPU."""
    if state.host.non_gpu_mw is not None:
        return state.host.non_gpu_mw
    worst_mw = state.file.terms.non_gpu_worst_mw if state.file.terms is not None else 0
    cpu_permille = min(max(state.host.cpu_pct, 0.0), 100.0) / 100 * (PERMILLE - MODEL_BASE_PERMILLE)
    return worst_mw * (MODEL_BASE_PERMILLE + round(cpu_permille)) // PERMILLE


def snapshot(state: NodeState) -> UsageState:
    """Usage snapshot for the disk."""
    return UsageState(
        boot_id=state.file.boot_id,
        driver_instance=state.file.driver_instance,
        counters={g.info.uuid: g.counters for g in state.gpus if g.counters is not None},
        attempts=tuple(AttemptUsage(a.ref, a.usage, a.readopted) for a in state.attempts.values()),
    )
