"""Leases: received, put in force, acknowledged or refused (I2, I8). Driven by `steer`.

A lease that is newer than the one in force becomes pending and replaces an older pending one. It
comes into force when the limits that were read back fit it: then it is saved, then (if it allows
more) the caps are raised, then it is acknowledged. A shrink waits, unacknowledged, for GPUs that
are not idle yet; where the tasks' floors alone exceed it, it is refused and stays pending: it is
acknowledged late if tasks end or freeze.
"""

import msgspec

from wattline_agent.core.durable import LeaseOnFile
from wattline_agent.core.effects import Send
from wattline_agent.core.model import NodeState, Pending
from wattline_agent.core.power import capper, held_watts
from wattline_protocol.ids import Now
from wattline_protocol.wire.agent_messages import Lease, LeaseAck, LeaseRefused

SETTLE_PATIENCE_S = 10.0
"""A GPU without a task that is not idle by then has a foreign load: the lease is refused."""


def received(state: NodeState, lease: Lease, now: Now) -> None:
    """Handle a lease of this incarnation. Older ones are ignored, repeats answered again."""
    if state.facts.is_observe:
        state.emit(Send(_refusal(state, lease, "observe mode: this agent sets no caps")))
        return
    pending, in_force = state.pending, state.lease
    if pending is not None and lease.seq <= pending.lease.seq:
        if lease.seq == pending.lease.seq and pending.is_refused:
            state.emit(Send(_refusal(state, lease, _why_refused(state))))
        return
    if in_force is not None and lease.seq <= in_force.seq:
        if lease.seq == in_force.seq and state.is_acked:
            acknowledge(state)
        return
    state.pending = Pending(lease, now.mono_s)


def enter_into_force(state: NodeState) -> None:
    """The limits in force fit the pending lease: save it; `steer` does the rest."""
    assert state.pending is not None, "only a pending lease enters into force"  # noqa: S101 - I8
    lease = state.pending.lease
    on_file = LeaseOnFile(lease.epoch, lease.incarnation, lease.seq, lease.lease_mw, lease.caps_mw)
    state.change_file(lease=on_file)
    state.pending = None
    state.is_acked = False


def acknowledge(state: NodeState) -> None:
    """Acknowledge a lease that is saved and that the limits read back fit."""
    lease = state.lease
    assert lease is not None, "only a lease in force is acknowledged"  # noqa: S101 - I3
    state.emit(
        Send(
            LeaseAck(
                epoch=lease.epoch,
                incarnation=lease.incarnation,
                seq=lease.seq,
                lease_mw=lease.lease_mw,
                caps_mw=enforced_mw(state),
            )
        )
    )
    state.is_acked = True


def enforced_mw(state: NodeState) -> tuple[int, ...]:
    """Limits as read back; the maximum where a GPU does not report one."""
    return tuple(
        gpu.info.cap_max_mw if gpu.enforced_mw is None else gpu.enforced_mw for gpu in state.gpus
    )


def hold_or_refuse(state: NodeState, now: Now) -> None:
    """The pending lease is exceeded with caps at their lowest: wait, or refuse it.

    What only waits for GPUs to settle is not refused before `SETTLE_PATIENCE_S`.
    """
    pending = state.pending
    if pending is None or pending.is_refused:
        return
    may_settle = held_watts.lowest_mw(state, hopeful=True) <= pending.lease.lease_mw
    if may_settle and now.mono_s - pending.since_s < SETTLE_PATIENCE_S:
        return
    pending.is_refused = True
    refusal = _refusal(state, pending.lease, _why_refused(state))
    state.emit(Send(refusal))
    state.note("lease_refused", refusal.reason)


def _refusal(state: NodeState, lease: Lease, reason: str) -> LeaseRefused:
    lowest_mw = held_watts.lowest_mw(state)
    if state.facts.is_observe:
        lowest_mw = full_mw(state)
    return LeaseRefused(lease.epoch, lease.incarnation, lease.seq, lowest_mw, reason)


def full_mw(state: NodeState) -> int:
    """Wall watts of an uncapped node: what an observer reports."""
    assert state.terms is not None, "no lease comes before the first Welcome"  # noqa: S101 - I2
    uncapped = [
        msgspec.structs.replace(h, can_cap=False, use="task") for h in held_watts.holds(state)
    ]
    return capper.holding_mw(state.terms, uncapped)


def _why_refused(state: NodeState) -> str:
    at = held_watts.holds(state)
    uncapped = [f"GPU {h.index}" for h in at if not h.can_cap and h.use != "idle"]
    busy = held_watts.loaded(state)
    foreign = [f"GPU {h.index}" for h in at if h.use == "settling" and h.index not in busy]
    if uncapped:
        return f"{', '.join(uncapped)} cannot be capped and count in full"
    if foreign:
        return f"{', '.join(foreign)} have no task but are not at idle draw"
    return "the minimum caps of running tasks exceed it"
