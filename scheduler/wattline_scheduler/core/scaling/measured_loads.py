"""Adds up what gateways report of services, second by second.

A second is over once every gateway has reported since the last one: their reports are a second
apart, so that each second has one of each, and none is read as a second without load because its
report came late. While one is silent, the loads are not known. One that is gone is not waited for:
the loads are those of the others, as a lower bound. Of a service that one of them leaves out of its
report, the load of this second is not known.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from math import inf

from wattline_protocol.ids import JobId, Now
from wattline_protocol.wire.rollouts import ServiceTraffic
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.service_traffic import (
    GatewayTraffic,
    MeanWork,
    awaited_gateways,
    gone_gateways,
    serving_job,
    silence,
)
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.scaling.service_history import forget_ended, keep_load
from wattline_scheduler.power.scaling.service_load import Load, added

LEAST_S = 0.5
"""A gateway that reports more often does not make seconds shorter than this."""

UNKNOWN_S = 1.0
"""A second without known loads."""

NO_LOAD = ServiceTraffic("none")
"""No gateway has reported."""


def measured_loads(state: State, now: Now) -> Mapping[str, Load | None] | None:
    """Loads of all open services in the second that is over, None where not known; None while it
    is not over. To be called at each tick."""
    clock = state.load_clock
    passed_s = inf if clock.added_at is None else now.mono_s - clock.added_at
    gateways = list(awaited_gateways(state.traffic, now).values())
    is_partial = bool(gone_gateways(state.traffic, now))
    is_known = not silence(state.traffic, state.started_at, now) and all(
        one.load is not None for one in gateways
    )
    is_over = passed_s >= LEAST_S and all(one.load_s for one in gateways)
    if not (is_over if is_known else passed_s >= UNKNOWN_S):
        return None
    clock.added_at = now.mono_s
    names = state.work.services.names()
    clock.mean_work = {name: clock.mean_work.get(name, MeanWork()) for name in names}
    waiting = [_waiting(one) for one in gateways]
    loads: dict[str, Load | None] = {}
    for name in names:
        serving = serving_job(state.work.services.serving(name), state.rollouts.get(name))
        rows = [(one, (one.load or {}).get(name, ServiceTraffic(name))) for one in gateways]
        is_listed = all(one.loaded is None or name in one.loaded for one in gateways)
        can_tell = is_known and is_listed
        load = _load(rows, waiting, serving, clock.mean_work[name]) if can_tell else None
        counts = reduce(ServiceTraffic.plus, (row for _, row in rows)) if rows else NO_LOAD
        rate = None if load is None or is_partial else load.arrived
        keep_load(state, serving, counts, rate, passed_s, now)
        loads[name] = replace(load, is_partial=True) if load is not None and is_partial else load
    forget_ended(state)
    for one in gateways:
        one.load_s, one.loaded = 0.0, None
        one.load = None if one.load is None else {}
    return loads


def _waiting(gateway: GatewayTraffic) -> dict[JobId, Counter[int]]:
    """Requests without an answer yet at the workers of a gateway, by job and task."""
    found: defaultdict[JobId, Counter[int]] = defaultdict(Counter)
    for ref, worker in (gateway.workers or {}).items():
        found[ref.job][ref.task] += worker.waiting
    return found


def _load(
    rows: Sequence[tuple[GatewayTraffic, ServiceTraffic]],
    waiting: Sequence[Mapping[JobId, Mapping[int, int]]],
    serving: Job,
    mean: MeanWork,
) -> Load | None:
    passed_s = max(one.load_s for one, _ in rows)
    mean.add(sum(row.answered for _, row in rows), sum(row.work for _, row in rows), passed_s)
    return added(
        _of(one.load_s, row, by_job.get(serving.id, {}), serving.spec.gang_size, mean.each)
        for (one, row), by_job in zip(rows, waiting, strict=True)
    )


def _of(
    load_s: float, row: ServiceTraffic, by_task: Mapping[int, int], gang_size: int, each: float
) -> Load:
    """The load in a second at one gateway. Work without an answer yet counts by the mean."""
    waiting: dict[int, float] = {}
    for task, count in by_task.items():
        number = task // gang_size
        waiting[number] = waiting.get(number, 0.0) + count * each
    seconds = max(load_s, LEAST_S)
    return Load(
        requests=round(row.requests / seconds),
        arrived=row.requests * each / seconds,
        answered=(row.work + row.batch_work) / seconds,
        queued=row.queued * each,
        waiting=waiting,
        times=row.times,
    )
