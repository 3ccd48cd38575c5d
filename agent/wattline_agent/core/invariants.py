"""Invariants of a node after every event: checked in tests and simulation, optionally elsewhere."""

from wattline_agent.core.model import NodeState
from wattline_agent.core.power import held_watts
from wattline_agent.core.tasks.attempt import Reserved
from wattline_protocol.ids import Now, TaskRef


class InvariantBroken(AssertionError):
    """The node's state contradicts DESIGN 4; the text names the rule and the contradiction."""


def check_invariants(state: NodeState, now: Now) -> None:
    """Raises InvariantBroken if a rule is broken."""
    _one_attempt_per_task(state)
    _no_gpu_given_twice(state)
    _acknowledged_is_on_file(state)
    _within_lease(state, now)


def _one_attempt_per_task(state: NodeState) -> None:
    seen: dict[tuple[int, int], TaskRef] = {}
    for attempt in state.attempts.values():
        if not attempt.holds_gpus:
            continue
        key = (attempt.ref.job, attempt.ref.task)
        if key in seen:
            raise InvariantBroken(f"I7: {attempt.ref} lives beside {seen[key]}")
        seen[key] = attempt.ref


def _no_gpu_given_twice(state: NodeState) -> None:
    for gpu in state.gpus:
        if held_watts.free_permille(state, gpu.index) < 0:
            held = ", ".join(
                f"{a.ref} ({a.share_permille})" for a in held_watts.users(state, gpu.index)
            )
            raise InvariantBroken(f"GPU {gpu.index} is held by {held}: more than 1000 thousandths")
        migs = [attempt.mig for attempt in held_watts.users(state, gpu.index) if attempt.mig]
        if len(set(migs)) < len(migs):
            raise InvariantBroken(f"a MIG device of GPU {gpu.index} is held twice: {migs}")


def _acknowledged_is_on_file(state: NodeState) -> None:
    member = state.session.member
    if member is None or member.adopted is None or state.facts.is_observe:
        return
    lease = state.lease
    if lease is None:
        raise InvariantBroken("I2: adopted, and no lease is on file")
    if state.pending is not None and state.pending.lease.seq <= lease.seq:
        raise InvariantBroken(f"I8: lease {state.pending.lease.seq} waits behind {lease.seq}")


def _within_lease(state: NodeState, now: Now) -> None:
    """The node may exceed its lease only while its caps are at their lowest or being lowered."""
    is_adopted = state.session.member is not None and state.session.member.adopted is not None
    if state.lease is None or state.terms is None or not is_adopted or state.caps.is_waiting:
        return
    over_mw = held_watts.holding_mw(state, planned=False) - state.lease.lease_mw
    able = [g for g in state.gpus if g.can_hold and not g.is_lost]
    lowered = [g for g in able if g.limit_mw > g.info.cap_min_mw]
    if over_mw > 0 and lowered and not any(a.will_load_gpus for a in state.attempts.values()):
        raise InvariantBroken(
            f"I2 at {now.mono_s:.1f} s: held {over_mw} mW above the lease though "
            f"GPU {lowered[0].index} could be lowered"
        )


def reserved(state: NodeState) -> list[TaskRef]:
    """Attempts that wait for their caps."""
    return [a.ref for a in state.attempts.values() if isinstance(a.standing, Reserved)]
