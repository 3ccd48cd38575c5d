"""Preemption: stops work of lower priority with its grace period, and queues it again.

A claim in `State.claims` reserves the nodes being freed until the preempting gang has started or no
longer waits. Claims are not on disk. After a restart, victims already being stopped still end, and
the planner finds their resources free like any others.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from heapq import nsmallest

from wattline_protocol.ids import NodeId, Now
from wattline_scheduler.core.leases.lease_load import booked_mw
from wattline_scheduler.core.lifecycle.ending import end_gang
from wattline_scheduler.core.model.devices import held_devices
from wattline_scheduler.core.model.jobs.job import Attempt, Ending, Gang, Paused, Pending, Running
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

MAX_GANGS_ASKED = 512
"""Maximum number of gangs evaluated per quota, from the lowest priority on: each is compared with
the others, and one quota may count as many gangs as there are GPUs."""

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


def busy_on(state: State, at: int, *, with_young: bool = False) -> tuple[RunningGang, ...]:
    """Gangs on the node at a position that are preemptible or already ending.

    `with_young`: also gangs protected because they started recently.
    """
    node = state.nodes[state.picture.offers[at].node]
    gangs = {attempt.gang.key: attempt.gang for attempt in node.attempts.values()}
    heard = (gang for gang in gangs.values() if _is_heard(state, gang))
    return tuple(
        _busy_of(state, gang) for gang in heard if with_young or not protected_s(state, gang)
    )


def busy_in(state: State, number: int, *, with_young: bool = False) -> tuple[RunningGang, ...]:
    """The same among the gangs that count in a quota, lowest priority first."""
    work = state.work
    gangs = (work.jobs[job].gangs[gang] for job, gang in work.quotas.all[number].holders)
    first = nsmallest(MAX_GANGS_ASKED, gangs, key=partial(_present_priority, state))
    heard = (gang for gang in first if _is_heard(state, gang))
    return tuple(
        _busy_of(state, gang) for gang in heard if with_young or not protected_s(state, gang)
    )


def _present_priority(state: State, gang: Gang) -> int:
    is_leaving = isinstance(state.work.phase_of(gang), Ending)
    return ENDING_PRIORITY if is_leaving else gang.job.spec.priority


def _is_heard(state: State, gang: Gang) -> bool:
    return all(state.nodes[one.node].is_reachable for one in state.work.live_of(gang))


def protected_s(state: State, gang: Gang) -> float:
    """Remaining time for which it is protected from preemption, since it started recently."""
    if not isinstance(state.work.phase_of(gang), Running | Paused):
        return 0.0
    return max(0.0, state.site.timing.protected_run_s - _run_s(state.work.live_of(gang)))


def _run_s(live: Sequence[Attempt]) -> float:
    return max((attempt.usage.run_s for attempt in live), default=0.0)


def _busy_of(state: State, gang: Gang) -> RunningGang:
    priority, live = _present_priority(state, gang), state.work.live_of(gang)
    gpus = sum(len(attempt.record.gpus) for attempt in live)
    return RunningGang(
        key=gang.key,
        priority=priority,
        lost_gpu_s=0.0 if priority == ENDING_PRIORITY else _run_s(live) * gpus,
        tasks=tuple(_used(state, attempt) for attempt in live),
        quotas=live[0].quotas,
        quota_milli=sum(attempt.quota_milli for attempt in live),
        quota_mw=sum(attempt.quota_mw for attempt in live),
    )


def _used(state: State, attempt: Attempt) -> TaskAllocation:
    node, shape = state.nodes[attempt.node], attempt.gang.job.shape
    held = held_devices(node, attempt)
    gpus = (node.gpus[gpu_of(device)] for device in held)
    counts_mw = (booked_mw(state, node, gpu) - gpu.idle_mw for gpu in gpus)
    return TaskAllocation(
        at=state.picture.position[node.id],
        gpus=held,
        counts_mw=tuple(counts_mw),
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
        reason = f"makes room for job {job.id} ({job.spec.name!r}) of higher priority{within}"
        text = f"{gang.name} {reason}: it is queued again"
        state.journal.note("gang_preempted", text, now, job=gang.job.id, level="warning")
        end_gang(state, gang, "preempted", reason, now)


def _names(state: State, quotas: Sequence[int]) -> str:
    """Text that names the quotas in which it frees headroom."""
    names = [state.work.quotas.all[number].name for number in quotas]
    return f" in {quotas_named(names)}" if names else ""
