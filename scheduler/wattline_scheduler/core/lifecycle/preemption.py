"""Preemption: stops work of lower priority with its grace period, and queues it again.

A claim in `State.claims` reserves the nodes being freed until the preempting gang has started or no
longer waits. Claims are not on disk. After a restart, victims already being stopped still end, and
the planner finds their resources free like any others.
"""

from collections.abc import Collection, Mapping, Sequence
from math import inf
from typing import NamedTuple

from wattline_protocol.ids import Instant, NodeId, Now
from wattline_scheduler.core.lifecycle.ending import end_gang
from wattline_scheduler.core.lifecycle.notifications import notify
from wattline_scheduler.core.model.devices import returned_devices
from wattline_scheduler.core.model.jobs.job import (
    Attempt,
    Ending,
    Gang,
    Paused,
    Pending,
    Phase,
    Running,
)
from wattline_scheduler.core.model.state import Claim, State
from wattline_scheduler.plan.model.device_classes import gpu_of
from wattline_scheduler.plan.model.shape import GangKey
from wattline_scheduler.plan.model.snapshot import (
    ENDING_PRIORITY,
    Preemption,
    RunningGang,
    TaskAllocation,
)
from wattline_scheduler.plan.policies.preemption_pass import quotas_named
from wattline_scheduler.time_slices import Parts

CLAIM_AFTER_S = 10.0
"""Time that nodes stay reserved after all victims ended: the next plan uses them, or none does."""


def tick_claims(state: State, now: Now) -> None:
    """Drops claims whose gang no longer waits, or that have expired; others may use the nodes."""
    for key, claim in list(state.claims.items()):
        if not _is_waiting(state, key) or _is_over(state, claim, now):
            del state.claims[key]
            state.wants_plan = True


def claimed(state: State) -> Mapping[GangKey, tuple[NodeId, ...]]:
    """Claimed nodes by the gang they are reserved for."""
    return {key: claim.nodes for key, claim in state.claims.items()}


def _is_waiting(state: State, key: GangKey) -> bool:
    gang = _gang(state, key)
    return gang is not None and isinstance(gang.phase, Pending)


def _is_over(state: State, claim: Claim, now: Now) -> bool:
    gangs = (_gang(state, key) for key in claim.victims)
    if any(gang is not None and isinstance(gang.phase, Ending) for gang in gangs):
        return False
    if claim.free_since is None:
        claim.free_since = now.mono_s
    return now.mono_s - claim.free_since > CLAIM_AFTER_S


def _gang(state: State, key: GangKey) -> Gang | None:
    job, number = key
    known = state.work.jobs.get(job)
    return known.gangs[number] if known is not None else None


def running_gangs(state: State, priority: int) -> Parts[tuple[tuple[RunningGang, ...], ...]]:
    """Gangs on each node that may be preempted or are ending, if a gang of this priority may
    preempt any, or waits for preempted ones to end; by position.

    Kept in the view of the fleet, and described again on nodes that have changed. A node without
    work below this priority stays outdated and has none: nothing of it would be preempted. Offers
    of the view are current (`renew_offers`).
    """
    if priority <= state.work.least_priority and not state.claims:
        return ()
    fleet_view = state.fleet_view
    outdated, running = _outdated(state), fleet_view.running
    is_below = dict(
        zip(
            outdated, (fleet_view.columns.least_priority[outdated] < priority).tolist(), strict=True
        )
    )
    described: dict[Gang, RunningGang | None] = {}
    for at in outdated:
        yield
        running[at] = _described_on(state, at, described) if is_below[at] else ()
    fleet_view.running_outdated = {
        at: _nodes_of_gangs_on(state, at) for at in outdated if not is_below[at]
    }
    state.work.redescribe = {}
    return tuple(running)


def _outdated(state: State) -> list[int]:
    """Positions of nodes to describe again: a gang is, on all its nodes, if one has changed."""
    fleet_view, position = state.fleet_view, state.fleet_view.position
    changed = {*fleet_view.running_outdated, *(position[node] for node in state.work.redescribe)}
    nodes = set(changed)
    for at in changed:
        nodes.update(_nodes_of_gangs_on(state, at))
        nodes.update(fleet_view.running_outdated.get(at, ()))
        for gone in fleet_view.running[at]:
            nodes.update([task.at for task in gone.tasks])
    return list(nodes)


def _nodes_of_gangs_on(state: State, at: int) -> list[int]:
    position = state.fleet_view.position
    live = (one for gang in _gangs_on(state, at) for one in state.work.live_of(gang))
    return [position[one.node] for one in live]


def _described_on(
    state: State, at: int, described: dict[Gang, RunningGang | None]
) -> tuple[RunningGang, ...]:
    """The gangs on a node; `described`: those described already on another."""
    on = _gangs_on(state, at)
    for gang in on:
        if gang not in described:
            described[gang] = described_gang(state, gang)
    return tuple([one for gang in on if (one := described[gang]) is not None])


def _gangs_on(state: State, at: int) -> Collection[Gang]:
    """Each once."""
    attempts = state.nodes[state.fleet_view.offers[at].node].attempts.values()
    return dict.fromkeys([attempt.gang for attempt in attempts])


def described_gang(state: State, gang: Gang) -> RunningGang | None:
    """Its form for the planner. None: a node of it is not reachable, so that its end would not be
    heard."""
    live, phase = state.work.live_of(gang), state.work.phase_of(gang)
    gpu_count = quota_milli = quota_mw = 0
    for attempt in live:
        if not state.nodes[attempt.node].is_reachable:
            return None
        gpu_count += len(attempt.record.gpus)
        quota_milli += attempt.quota_milli
        quota_mw += attempt.quota_mw
    priority, ran = _present_priority(state, gang), _run_time(live, phase)
    is_ending = priority == ENDING_PRIORITY
    return RunningGang(
        key=gang.key,
        priority=priority,
        lost_gpu_s=0.0 if is_ending else ran.s * gpu_count,
        tasks=tuple([allocation_of(state, attempt) for attempt in live]),
        quotas=live[0].quotas,
        quota_milli=quota_milli,
        quota_mw=quota_mw,
        since=ran.at,
        growing_gpus=0 if is_ending or not ran.is_growing else gpu_count,
        protected_until=_protected_until(state, phase, ran),
    )


class _RunTime(NamedTuple):
    """Run time of a gang's current try, without pauses."""

    s: float
    at: Instant
    is_growing: bool


def _run_time(live: Sequence[Attempt], phase: Phase) -> _RunTime:
    if isinstance(phase, Running) and phase.ran_s is not None:
        return _RunTime(phase.ran_s, phase.since, is_growing=True)
    reported = max((attempt.usage.run_s for attempt in live), default=0.0)
    return _RunTime(reported, Instant(0.0), is_growing=False)


def _protected_until(state: State, phase: Phase, ran: _RunTime) -> Instant:
    left_s = state.site.timing.protected_run_s - ran.s
    if not isinstance(phase, Running | Paused) or left_s <= 0.0:
        return Instant(-inf)
    return Instant(ran.at + left_s) if ran.is_growing else Instant(inf)


def protected_s(state: State, gang: Gang, now: Now) -> float:
    """Remaining time for which it is protected from preemption, since it started recently."""
    phase = state.work.phase_of(gang)
    ran = _run_time(state.work.live_of(gang), phase)
    until = _protected_until(state, phase, ran)
    if until == inf:  # it counts from its resume
        return state.site.timing.protected_run_s - ran.s
    return max(0.0, until - now.mono_s)


def _present_priority(state: State, gang: Gang) -> int:
    is_leaving = isinstance(state.work.phase_of(gang), Ending)
    return ENDING_PRIORITY if is_leaving else gang.job.spec.priority


def allocation_of(state: State, attempt: Attempt) -> TaskAllocation:
    """What an attempt holds, for the planner. Offers of the view are current (`renew_offers`)."""
    node, shape = state.nodes[attempt.node], attempt.gang.job.shape
    at = state.fleet_view.position[node.id]
    held = returned_devices(node, attempt)
    booked_mw = dict(state.fleet_view.offers[at].booking.held)
    gpus = [node.gpus[gpu_of(device)] for device in held]
    return TaskAllocation(
        at=at,
        gpus=held,
        # A GPU that is not controlled is not in `held`: it counts the same without the task.
        counts_mw=tuple([booked_mw.get(gpu.index, gpu.idle_mw) - gpu.idle_mw for gpu in gpus]),
        milli=shape.gpu_milli,
        cpus=shape.cpus,
        memory_bytes=shape.memory_bytes,
    )


def preempt(state: State, one: Preemption, now: Now) -> None:
    """Stops the victims, and reserves their nodes for the gang.

    Some may be ending already for another gang; those whose tasks were not ordered yet have ended.
    """
    state.claims[one.gang] = Claim(one.nodes, one.victims)
    job = state.work.jobs[one.gang[0]]
    for key in one.victims:
        gang = _gang(state, key)
        if gang is None or not gang.live or isinstance(gang.phase, Ending):
            continue
        within = _names(state, [at for at in one.quotas if at in gang.live[0].quotas])
        reason = f"preempted by job {job.id} ({job.spec.name!r}) of higher priority{within}"
        text = f"{gang.name} is {reason}: it is requeued"
        notify(state, gang.job, "requeue", reason, now)
        state.journal.note("gang_preempted", text, now, job=gang.job.id, level="warning")
        end_gang(state, gang, "preempted", reason, now)


def _names(state: State, quotas: Sequence[int]) -> str:
    """Text that names the quotas in which it frees headroom."""
    names = [state.work.quotas.all[number].name for number in quotas]
    return f" in {quotas_named(names)}" if names else ""
