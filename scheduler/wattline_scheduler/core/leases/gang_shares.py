"""Moves watts inside a gang, from the ranks that wait to the one that they wait for.

Only where the power cap is the cause, and only among GPUs that count in the row that limits it:
there the sum of the gang's watts is unchanged. `power.allocation.gang_balance` computes the
division, the weights of the gang's GPUs express it, and the allocator and the leases apply it like
any other. After a shift the ranks do a whole window of steps before the next one is considered; a
shift that made the slowest rank slower is undone.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from wattline_protocol.ids import Instant, Now
from wattline_protocol.job.ranks import gpus_of_rank, ranks_of
from wattline_protocol.job.spec import WHOLE_GPU
from wattline_protocol.site.wall_power import PERMILLE
from wattline_scheduler.core.leases.leases import divide
from wattline_scheduler.core.model.jobs.job import Gang
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.model.usage.rank_watch import RankGpu, RankWatch, Shift
from wattline_scheduler.power.allocation.allocator import Allocation
from wattline_scheduler.power.allocation.gang_balance import GangGpus, balance, weights_for
from wattline_scheduler.power.demand.models import Curve
from wattline_scheduler.power.demand.node_load import GpuLoad
from wattline_scheduler.power.demand.useful_cap import curve_of
from wattline_scheduler.power.topology.matrix import Floats

SETTLE_STEPS, SETTLE_S = 22, 10.0
"""After a shift, until caps have changed, and the medians of all ranks are of steps since then."""

WORTH_IT = 0.99
"""A shift is made if the slowest rank then needs at most this part of its time."""

WORSE = 1.01
"""The slowest time after a shift over that before it, from which it is undone."""

SAME_WATTS = 0.02
"""Change of the gang's watts after which its times before and after do not compare."""

LEAST_BUSY_S = 1e-6
"""Less is no measurement."""

LEAST_GAIN = 0.125

MOST_CHANGE = 0.15
"""Of a GPU's watts in one shift: the job's own curve may be steeper than the fitted one."""

RESHAPE_S = 10.0
"""Time in which leases of the gang's nodes follow without a dead band."""


class _Part(NamedTuple):
    """One GPU of the gang."""

    at: RankGpu
    entry: int
    """Its position in the allocator's columns."""
    rank: int
    load: GpuLoad
    cost: float
    curve: Curve
    steepness: float


def balance_gang(
    state: State, gang: Gang, watch: RankWatch, busy_s: Mapping[int, float], now: Now
) -> None:
    """Considers a shift, once the ranks have done enough steps since the last one. `busy_s`: of
    every rank that is judged."""
    is_capped = any(one.cause == "capped" for one in watch.slow.values())
    is_measured = max(busy_s.values(), default=0.0) >= LEAST_BUSY_S
    if not is_measured or not (is_capped or watch.weights):
        return
    step = min(watch.steps[rank].step for rank in busy_s)
    if step < watch.next_step or now.mono_s < watch.next_at:
        return
    watch.next_step = max(one.step for one in watch.steps.values()) + SETTLE_STEPS
    watch.next_at = Instant(now.mono_s + SETTLE_S)
    allocation = divide(state, now)
    parts = _parts(state, gang, busy_s, allocation)
    weights = _weights(watch, parts, busy_s, allocation) if parts else watch.weights
    if weights != watch.weights:
        if not watch.weights:
            _note(state, gang, parts, weights, now)
        watch.weights = weights
        _reshape(state, gang, now)


def _note(
    state: State, gang: Gang, parts: list[_Part], weights: Mapping[RankGpu, int], now: Now
) -> None:
    """Once in a try: the shifts that follow are in caps and leases."""
    # Weights of an earlier shift lack the GPUs of ranks that were not judged then.
    most = max(parts, key=lambda part: weights.get(part.at, PERMILLE))
    more = (weights.get(most.at, PERMILLE) / PERMILLE - 1) * 100
    text = (
        f"{gang.name}: rank {most.rank} on {most.at[0]} gets {more:.3g} % more than an even share "
        f"of the gang's watts, taken from the ranks that wait for it"
    )
    state.journal.note("watts_shifted", text, now, job=gang.job.id)


def _weights(
    watch: RankWatch, parts: list[_Part], busy_s: Mapping[int, float], allocation: Allocation
) -> dict[RankGpu, int]:
    """With another shift, or without the last one where that made it worse."""
    last, slowest_s = watch.shift, max(busy_s.values())
    sum_mw = float(sum(part.cost * allocation.gpu_mw[part.entry] for part in parts))
    watch.shift = Shift(slowest_s, sum_mw, watch.weights)
    was_shifted = last is not None and last.before != watch.weights
    if last is not None and was_shifted and _is_worse(last, slowest_s, sum_mw):
        watch.gain = max(LEAST_GAIN, watch.gain / 2)
        return last.before
    return watch.weights | _shifted(watch, parts, busy_s, allocation)


def _is_worse(last: Shift, slowest_s: float, sum_mw: float) -> bool:
    is_same = abs(sum_mw - last.sum_mw) <= SAME_WATTS * last.sum_mw
    return is_same and slowest_s > WORSE * last.slowest_s


def _parts(
    state: State, gang: Gang, busy_s: Mapping[int, float], allocation: Allocation
) -> list[_Part]:
    """GPUs of judged ranks in the row that limits the slowest rank; empty = no row does, or its
    GPUs are shared."""
    if gang.job.shape.gpu_milli != WHOLE_GPU or gang.job.spec.resources.mig:
        return []
    slowest = max(busy_s, key=lambda rank: busy_s[rank])
    entries = _entries(state, gang, busy_s)
    rows = [int(allocation.row[e]) for e, (_, rank) in entries.items() if rank == slowest]
    row = max(rows, default=-1)
    return _of_row(state, gang, entries, row) if row >= 0 else []


def _entries(
    state: State, gang: Gang, busy_s: Mapping[int, float]
) -> dict[int, tuple[RankGpu, int]]:
    """Position in the allocator's columns of each GPU of a judged rank, and the rank."""
    found: dict[int, tuple[RankGpu, int]] = {}
    spec = gang.job.spec
    for attempt in gang.live:
        load = state.fleet.loads.get(attempt.node)
        first = state.fleet.gpu_entries(attempt.node).start
        gpus = load.gpus if load is not None else ()
        position = {gpu.index: first + at for at, gpu in enumerate(gpus)}
        for local_rank, rank in enumerate(ranks_of(spec, attempt.record.task)):
            if rank in busy_s:
                for index in gpus_of_rank(spec, attempt.record.gpus, local_rank):
                    if index in position:
                        found[position[index]] = (attempt.node, index), rank
    return found


def _of_row(
    state: State, gang: Gang, entries: Mapping[int, tuple[RankGpu, int]], row: int
) -> list[_Part]:
    parts: list[_Part] = []
    need = gang.job.shape.need
    for entry, ((node, index), rank) in entries.items():
        share = dict(state.domains.rows_of[node]).get(row, 0)
        gpu, load = state.nodes[node].gpus.get(index), state.fleet.loads[node]
        learned = state.demand.learned_of(node, index)
        if gpu is None or not share:
            continue
        one = next(each for each in load.gpus if each.index == index)
        steepness = learned.steepness_permille / PERMILLE if learned is not None else 1.0
        cost = share / load.psu_efficiency_permille
        curve = curve_of(gpu, one.target_mw, need)
        parts.append(_Part((node, index), entry, rank, one, cost, curve, steepness))
    return parts


def _shifted(
    watch: RankWatch,
    parts: list[_Part],
    busy_s: Mapping[int, float],
    allocation: Allocation,
) -> dict[RankGpu, int]:
    """The weights that change; empty = no shift is worth it."""
    entries = np.array([part.entry for part in parts])
    has_mw = allocation.gpu_mw[entries].astype(np.float64)
    if not has_mw.all():
        return {}  # without watts a GPU has no performance, and no part of its watts
    gpus = _columns(parts, busy_s, has_mw)
    new = balance(gpus)
    if new.slowest_s > WORTH_IT * float(gpus.busy_s.max()):
        return {}
    change_mw = new.wanted_mw - has_mw
    part = min(watch.gain, MOST_CHANGE / float(np.abs(change_mw / has_mw).max()))
    wanted_mw = has_mw + part * change_mw
    slowest = int(np.argmax(gpus.busy_s))
    weight = watch.weights.get(parts[slowest].at, PERMILLE) / PERMILLE
    level = has_mw[slowest] / (weight * parts[slowest].load.target_mw)
    target_mw = np.array([float(part.load.target_mw) for part in parts])
    weights = weights_for(wanted_mw, target_mw, level).tolist()
    return {part.at: weight for part, weight in zip(parts, weights, strict=True)}


def _columns(parts: list[_Part], busy_s: Mapping[int, float], has_mw: Floats) -> GangGpus:
    def column(values: list[float]) -> Floats:
        return np.array(values, dtype=np.float64)

    return GangGpus(
        busy_s=column([busy_s[part.rank] for part in parts]),
        has_mw=has_mw,
        least_mw=np.minimum(column([float(part.load.asked_mw) for part in parts]), has_mw),
        most_mw=np.maximum(column([float(part.load.target_mw) for part in parts]), has_mw),
        demand_mw=column([float(part.load.target_mw) for part in parts]),
        bend=column([part.curve.bend for part in parts]),
        order=column([part.curve.order for part in parts]),
        steepness=column([part.steepness for part in parts]),
        cost=column([part.cost for part in parts]),
    )


def _reshape(state: State, gang: Gang, now: Now) -> None:
    for attempt in gang.live:
        state.nodes[attempt.node].load = None
        state.reshaped[attempt.node] = Instant(now.mono_s + RESHAPE_S)
    state.wants_rebalance = True
