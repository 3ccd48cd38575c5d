"""From Welcome to Adopted: the watts the node is capped at, read back from the driver (I6, I9)."""

import msgspec

from wattline_agent.core.durable import LeaseOnFile
from wattline_agent.core.effects import SaveState, Send
from wattline_agent.core.model import Member, NodeState
from wattline_agent.core.power import held_watts, lease
from wattline_agent.core.tasks import attempts
from wattline_protocol.ids import Now, Sequence
from wattline_protocol.text.wording import power_text
from wattline_protocol.wire.agent_messages import Adopted

MOST_WAIT_S = 30.0
"""Longest wait for idleness to be confirmed: with a slow driver a sample may never do so."""


def adopt(state: NodeState, member: Member, now: Now) -> bool:
    """Report the watts held, once known. False: idleness may still be confirmed, wait.

    They become the lease in force, which is on disk before the report.
    """
    held_mw = held_watts.holding_mw(state, planned=False)
    may_wait = state.adopt_wait_s > 0 and now.mono_s - state.started_s < MOST_WAIT_S
    if held_mw > state.adopt_mw and may_wait:
        return False
    caps_mw = lease.enforced_mw(state)
    welcome = member.welcome
    on_file = LeaseOnFile(
        welcome.epoch,
        welcome.incarnation,
        Sequence(0),
        held_mw,
        tuple(gpu.limit_mw for gpu in state.gpus),
    )
    state.file = msgspec.structs.replace(state.file, lease=on_file)
    state.is_acked = True
    state.adopt_wait_s = 0.0
    for gpu in state.gpus:
        gpu.is_presumed_idle = False
    state.emit(SaveState(state.file))
    _report_adopted(state, member, held_mw, caps_mw, now)
    return True


def adopt_observing(state: NodeState, member: Member, now: Now) -> None:
    """An observer enforces no caps: the node counts at its full power."""
    _report_adopted(state, member, lease.full_mw(state), lease.enforced_mw(state), now)


def _report_adopted(
    state: NodeState, member: Member, held_mw: int, caps_mw: tuple[int, ...], now: Now
) -> None:
    member.adopted_s = now.mono_s
    member.adopted = Adopted(
        epoch=member.welcome.epoch,
        incarnation=member.welcome.incarnation,
        holding_mw=held_mw,
        caps_mw=caps_mw,
        tasks=attempts.reports(state),
    )
    state.emit(Send(member.adopted))
    # Nothing is placed here until a beat reports idle GPUs. It need not wait for a sample.
    if all(gpu.reading is not None or gpu.stale is not None for gpu in state.gpus):
        state.beat_wanted_s = now.mono_s
    for attempt in state.attempts.values():
        attempt.reported = attempt.phase
    text = f"incarnation {member.welcome.incarnation}, holding {power_text(held_mw)}"
    state.note("adopted", text)
