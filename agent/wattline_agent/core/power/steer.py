"""Controller of the caps: one level-triggered step after every event.

Theory. At most one set (or read) is outstanding at the driver. Each step compares the limits that
were last read back with the goal and does the one next thing: read back for Adopted, lower for a
pending lease, put it in force, move to the plan of the lease in force, acknowledge, start what
waited for caps. It does not track *why* a limit is wrong, so a driver reload, a BMC and an operator
with nvidia-smi are all handled the same way.
"""

from wattline_agent.core.effects import ApplyCaps, ReadCaps, WouldCap
from wattline_agent.core.events import CapsRead
from wattline_agent.core.link import adoption
from wattline_agent.core.model import ANSWERS_TIMED, Member, NodeState, Pending, Standpoint
from wattline_agent.core.ports import CapResult
from wattline_agent.core.power import capper, foreign_processes, held_watts, lease, raised_caps
from wattline_agent.core.power.gpus import Gpu, is_at, take_read, take_set, within_ceiling
from wattline_agent.core.tasks import commands
from wattline_protocol.ids import GpuIndex, Now

RETRY_S = 5.0
"""Retry interval of a GPU whose cap could not be set."""
LIMITS_HOLD_S = 1.5
"""Maximum age of limits for a start, from their request: no driver is reloaded in less time."""
SLOWER_THAN_ANSWERS = 2
"""A reload takes at least this many times as long as an answer of the driver: else a start on a
slow one would never find an answer that is recent enough."""


def step(state: NodeState, now: Now, here: Standpoint | None) -> None:
    """Do the next step; called after every event. `here` is the current `standpoint`."""
    if not state.is_started or state.is_stopping:
        return
    if state.facts.is_observe:
        _show(state)
        member = state.session.member
        if member is not None and member.adopted is None:
            adoption.adopt_observing(state, member, now)
        return
    if here is not None and here == state.settled_at:
        return
    while not state.caps.is_waiting and _next(state, now):
        pass
    state.settled_at = None if state.caps.is_waiting else standpoint(state, now)


def standpoint(state: NodeState, now: Now) -> Standpoint | None:
    """All inputs of a step; None while an answer is outstanding or time has to pass.

    A step that found nothing to do finds nothing again at the same standpoint: most events change
    nothing that concerns the caps.
    """
    member = state.session.member
    if state.pending is not None or not state.is_acked or state.caps.is_waiting:
        return None
    if member is None or member.adopted is None:
        return None
    here: list[object] = [state.file, member, state.non_gpu_seen_mw, is_floored(state, now)]
    for attempt in state.attempts.values():
        if attempt.will_load_gpus:
            return None
        here.append((attempt.order.ref, attempt.loads_gpus, attempt.pausing is None))
    for gpu in state.gpus:
        if gpu.fault or gpu.stale is not None or raised_caps.is_watched(gpu, now):
            return None
        here.append(
            (
                gpu.info,
                gpu.learned_idle_mw,
                gpu.enforced_mw,
                gpu.host_limit_mw,
                gpu.asked_mw,
                gpu.set_to_mw,
                gpu.ceiling_mw,
                gpu.is_ineffective,
                gpu.is_idle,
                bool(gpu.foreign),
                gpu.raised is None,
            )
        )
    return here


def caps_read(state: NodeState, event: CapsRead, now: Now) -> None:
    """Handle the driver's answer. An answer to an earlier request is ignored."""
    caps = state.caps
    if event.generation != caps.generation or not caps.is_waiting:
        return
    caps.is_waiting = False
    foreign_processes.take(state, event.foreign, now)
    for index in caps.scanned:
        state.gpus[index].scanned_s = caps.asked_s
    caps.took_s.append(now.mono_s - caps.asked_s)
    for result in event.limits:
        if result.index < len(state.gpus):
            _take_result(state, state.gpus[result.index], result, now)
    for index in caps.asked - {result.index for result in event.limits}:
        silent = CapResult(index, None, None, "the driver did not answer")
        _take_result(state, state.gpus[index], silent, now)
    if state.pending is not None and state.pending.lease.seq == caps.verifies:
        state.pending.is_verified = True
    member = state.session.member
    if member is not None and member.welcome.incarnation == caps.reads_for:
        member.is_read = True


def _take_result(state: NodeState, gpu: Gpu, result: CapResult, now: Now) -> None:
    had_fault, before_mw = gpu.fault, gpu.limit_mw
    may_hold = (gpu.can_hold or gpu.raised is not None) and not gpu.is_lost
    if gpu.index in state.caps.asked:
        take_set(gpu, result, now.mono_s)
        gpu.retry_at_s = now.mono_s + RETRY_S if gpu.fault else 0.0
        if result.is_taken:
            raised_caps.take_set(state, gpu, now)
    else:
        take_read(gpu, result, now.mono_s)
        if may_hold:
            raised_caps.take_limit(state, gpu, before_mw, now)
    gpu.checked_s = state.caps.asked_s
    if gpu.fault and gpu.fault != had_fault:
        state.note("gpu_not_capped", f"GPU {gpu.index}: {gpu.fault}")


def _next(state: NodeState, now: Now) -> bool:
    """One step; False when there is nothing more to do until something happens."""
    member = state.session.member
    if member is not None and member.adopted is None:
        if not member.is_read:
            _read(state, member, now)
            return True
        if adoption.adopt(state, member, now):
            return True
    elif state.pending is not None and not is_floored(state, now):
        return _toward_pending(state, state.pending, now)
    return _toward_goal(state, now)


def _toward_pending(state: NodeState, pending: Pending, now: Now) -> bool:
    plan = held_watts.plan_for(state, pending.lease.lease_mw, pending.lease.caps_mw)
    low = _not_above_now(state, _by_gpu(state, plan.caps_mw))
    is_within = held_watts.holding_mw(state) <= pending.lease.lease_mw
    is_growth = state.lease is not None and pending.lease.lease_mw >= state.lease.lease_mw
    if not pending.is_verified and not (is_within and is_growth):
        # Every limit is set or read again: a shrink depends on no older reading.
        if _apply(state, _settable(state, low, now), now):
            return True
        pending.is_verified = True
    if _apply(state, _differing(state, low, now), now):
        return True
    if is_within:
        lease.enter_into_force(state)
        return True
    lease.hold_or_refuse(state, now)
    return False


def _toward_goal(state: NodeState, now: Now) -> bool:
    goal = _by_gpu(state, goal_caps(state, now))
    # Lower caps first, and read them back: only then may others use the headroom.
    if _apply(state, _differing(state, _not_above_now(state, goal), now), now):
        return True
    if _apply(state, _differing(state, goal, now), now):
        return True
    if not state.is_acked and state.lease is not None:
        if held_watts.holding_mw(state) > state.lease.lease_mw:
            return False
        lease.acknowledge(state)
        return True
    if _confirm_waiting(state, goal, now) or commands.start_waiting(state, now):
        return True
    return _recheck(state, now)


def _recheck(state: NodeState, now: Now) -> bool:
    """Read limits that were raised a moment ago: a sample a second would detect a loop too late."""
    is_due = now.mono_s - state.caps.asked_s >= raised_caps.RECHECK_S
    if not is_due or not any(raised_caps.is_watched(gpu, now) for gpu in state.gpus):
        return False
    state.emit(ReadCaps(_next_generation(state, now)))
    return True


def _confirm_waiting(state: NodeState, goal: dict[GpuIndex, int], now: Now) -> bool:
    """A start needs limits and process lists requested recently and since it waits.

    The driver may have been reloaded without a sample showing it yet: before the start was ordered,
    or while this process stood still with the driver's answer received.
    """
    since_s = now.mono_s - _limits_hold_s(state)
    stale = {
        gpu.index: goal[gpu.index]
        for attempt in state.attempts.values()
        if attempt.will_load_gpus
        for gpu in held_watts.gpus_of(state, attempt)
        if gpu.checked_s < max(commands.waits_since(attempt), since_s)
    }
    return _apply(state, _settable(state, stale, now), now, must_scan=True)


def _unseen(state: NodeState, now: Now) -> frozenset[GpuIndex]:
    """GPUs whose processes were not listed since a start waits for them, or too long ago."""
    since_s = now.mono_s - _limits_hold_s(state)
    return frozenset(
        gpu.index
        for attempt in state.attempts.values()
        if attempt.is_reserved
        for gpu in held_watts.gpus_of(state, attempt)
        if gpu.scanned_s < max(commands.waits_since(attempt), since_s)
    )


def _limits_hold_s(state: NodeState) -> float:
    """By the fastest of the newest answers: a slow one may be a process that stood still."""
    took_s = state.caps.took_s
    fastest_s = min(took_s) if len(took_s) == ANSWERS_TIMED else 0.0
    return max(LIMITS_HOLD_S, SLOWER_THAN_ANSWERS * fastest_s)


def goal_caps(state: NodeState, now: Now) -> tuple[int, ...]:
    """Target caps under the lease in force.

    Before Adopted nothing is raised: after a restart idleness is only presumed.
    """
    if state.lease is None or state.terms is None or is_floored(state, now):
        return tuple(gpu.info.cap_min_mw for gpu in state.gpus)
    caps = held_watts.plan_for(state, state.lease.lease_mw, state.lease.wanted_mw).caps_mw
    member = state.session.member
    if member is not None and member.adopted is not None:
        return caps
    return tuple(min(cap, _now_at(gpu)) for gpu, cap in zip(state.gpus, caps, strict=True))


def is_floored(state: NodeState, now: Now) -> bool:
    """Isolated, and the site requires isolated nodes at their floor (I5)."""
    terms = state.file.terms
    return (
        terms is not None
        and terms.isolation == "floor"
        and now.mono_s - max(state.session.heard_s, state.started_s) > terms.isolation_after_s
    )


def _by_gpu(state: NodeState, caps: tuple[int, ...]) -> dict[GpuIndex, int]:
    """Caps to request. A GPU whose limit cannot be trusted is tried at its minimum: if that works,
    no watts were given away yet."""
    return {
        gpu.index: within_ceiling(gpu, cap) if gpu.can_hold else gpu.info.cap_min_mw
        for gpu, cap in zip(state.gpus, caps, strict=True)
    }


def _not_above_now(state: NodeState, caps: dict[GpuIndex, int]) -> dict[GpuIndex, int]:
    """`caps`, without raises."""
    return {index: min(cap, _now_at(state.gpus[index])) for index, cap in caps.items()}


def _now_at(gpu: Gpu) -> int:
    """The host limit in force, which a set replaces."""
    return gpu.host_limit_mw if gpu.host_limit_mw is not None else gpu.limit_mw


def _settable(state: NodeState, caps: dict[GpuIndex, int], now: Now) -> dict[GpuIndex, int]:
    """Those of `caps` that may be tried now."""
    return {
        gpu.index: caps[gpu.index]
        for gpu in state.gpus
        if gpu.index in caps and gpu.can_set and not gpu.is_lost and gpu.retry_at_s <= now.mono_s
    }


def _differing(state: NodeState, caps: dict[GpuIndex, int], now: Now) -> dict[GpuIndex, int]:
    """Those of `caps` that may be tried now and are not in force."""
    tried = _settable(state, caps, now)
    return {index: cap for index, cap in tried.items() if not is_at(state.gpus[index], cap)}


def _apply(
    state: NodeState, caps: dict[GpuIndex, int], now: Now, *, must_scan: bool = False
) -> bool:
    """Request caps, and in the same request what else a start waits for; False when there are none.
    `must_scan`: request the latter also alone.
    """
    scan = _unseen(state, now)
    if not caps and not (must_scan and scan):
        return False
    for index, cap_mw in caps.items():
        state.gpus[index].asked_mw = cap_mw
    generation = _next_generation(state, now)
    state.caps.asked, state.caps.scanned = frozenset(caps), scan
    state.caps.verifies = state.pending.lease.seq if state.pending is not None else None
    state.emit(ApplyCaps(generation, caps, scan))
    return True


def _read(state: NodeState, member: Member, now: Now) -> None:
    generation = _next_generation(state, now)
    state.caps.reads_for = member.welcome.incarnation
    state.emit(ReadCaps(generation))


def _next_generation(state: NodeState, now: Now) -> int:
    state.caps.generation += 1
    state.caps.is_waiting, state.caps.asked_s = True, now.mono_s
    state.caps.asked = state.caps.scanned = frozenset()
    state.caps.verifies = state.caps.reads_for = None
    return state.caps.generation


def apply_floors(state: NodeState, now: Now) -> None:
    """Set the lowest power, before anything else (I6)."""
    floors = {gpu.index: gpu.info.cap_min_mw for gpu in state.gpus}
    _apply(state, _differing(state, floors, now), now)


def _show(state: NodeState) -> None:
    """Observe mode: log what would be set, once per change."""
    if state.terms is None:
        caps = tuple(gpu.info.cap_min_mw for gpu in state.gpus)
        held_mw = 0
    else:
        at = held_watts.holds(state)
        lease_mw = state.lease.lease_mw if state.lease is not None else 0
        plan = capper.plan(state.terms, at, lease_mw, ())
        caps, held_mw = plan.caps_mw, plan.holding_mw
    if caps != state.would_cap_mw:
        state.would_cap_mw = caps
        state.emit(WouldCap(caps, held_mw))
