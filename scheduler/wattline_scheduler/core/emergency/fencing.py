"""Fencing: powers hosts off without their agents, for a budget (I4) or for their gangs (I7).

A node that does not acknowledge its shrink stays booked at its old watts. Nodes that answer first
make up for it, by caps and pauses. Where that is not enough, the node is powered off by its BMC or
PDU: lowest priority first, as few as possible. A node silent for `fence_after` is powered off so
that its gangs start elsewhere (`silent_nodes`). Only a host that was *seen* to be off counts as
off; after any other result of an attempt nothing has changed.

An attempt that ends with the scheduler is harmless: the reason for it persists or its intent is on
record, so the attempt is repeated, and a host that is off already is only confirmed.
"""

from wattline_protocol.ids import Now
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.wording import power_text
from wattline_protocol.wire.client_messages import Answer, DeclareOff, Denied, Done
from wattline_scheduler.core.emergency.bmc_checks import take_check, to_check
from wattline_scheduler.core.emergency.node_off import count_off
from wattline_scheduler.core.emergency.silent_nodes import judge_silence
from wattline_scheduler.core.emergency.unresponsive import OffReason, to_switch_off
from wattline_scheduler.core.model.events import ClientRequest, OutOfBandDone
from wattline_scheduler.core.model.journal import SCHEDULER
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.power_off_attempts import OffAttempt, Purpose
from wattline_scheduler.core.model.problems import begin, end
from wattline_scheduler.core.model.state import State

CHECK_PERIOD_S = 1.0

MAX_UNDER_WAY = 64
"""Maximum number of concurrent attempts: each is a process or a connection."""

GIVE_UP_MARGIN_S = 5.0
"""Margin beyond its time-out after which an attempt without a result has failed."""

STALL_S = 3.0
"""Time between two checks from which the scheduler itself has stalled."""

BELIEVED_S = 5.0
"""A host that was seen off longer ago than this may be on again."""


def tick_out_of_band(state: State, now: Now) -> None:
    """Fails attempts that timed out, and starts new ones where needed, once a second."""
    attempts = state.off_attempts
    for name, one in list(attempts.under_way.items()):
        if now.mono_s - one.since > _limit_s(state.nodes[name]):
            late = OutOfBandDone(name, one.number, None, "no result")
            out_of_band_done(state, late, now)
    gap_s = now.mono_s - attempts.checked_at
    if gap_s < CHECK_PERIOD_S * 0.99:
        return
    if gap_s > STALL_S:
        attempts.listening_since = now.mono_s
    attempts.checked_at = now.mono_s
    if state.overruns:
        for node, why in to_switch_off(state, now)[: _free(state)]:
            _begin_for_budget(state, node, why, now)
    _fence_silent(state, now)
    for node in to_check(state, now)[: _free(state)]:
        _begin(state, node, "check", "", now)


def _free(state: State) -> int:
    return max(0, MAX_UNDER_WAY - len(state.off_attempts.under_way))


def _fence_silent(state: State, now: Now) -> None:
    silence = judge_silence(state, now)
    if silence.withheld:
        begin(state, "fencing_withheld", "site", silence.withheld, now)
    else:
        end(state, "fencing_withheld", "site", now, "no node waits to be fenced, or few are silent")
    for node in silence.to_fence[: _free(state)]:
        after = format_duration(state.site.timing.fence_after_s)
        reason = f"silent for {after}, its gangs can start elsewhere"
        _intend(state, node)
        text = f"{node.id} is switched off out of band: {reason}"
        state.journal.note("out_of_band_ordered", text, now, node=node.id, level="alarm")
        _begin(state, node, "silence", reason, now)


def _limit_s(node: NodeNow) -> float:
    declared = node.site.out_of_band
    return GIVE_UP_MARGIN_S + (declared.timeout_s if declared is not None else 0.0)


def _intend(state: State, node: NodeNow) -> None:
    """Puts the intent on disk before the order: a new run repeats it."""
    state.journal.change(node, fence="ordered")


def _begin_for_budget(state: State, node: NodeNow, why: OffReason, now: Now) -> None:
    reason = f"{why.domain} was {power_text(why.over_mw)} above its lowered budget"
    text = (
        f"{node.id} is switched off out of band: it does not answer, {reason}, "
        "and the reachable nodes cannot compensate"
    )
    state.journal.note("out_of_band_ordered", text, now, node=node.id, level="alarm")
    _begin(state, node, "budget", reason, now)


def _begin(state: State, node: NodeNow, purpose: Purpose, reason: str, now: Now) -> None:
    number, power_off = state.off_attempts.next_number(), purpose != "check"
    _order(state, node, OffAttempt(number, now.mono_s, power_off, SCHEDULER, reason, purpose))


def _order(state: State, node: NodeNow, one: OffAttempt) -> None:
    state.off_attempts.under_way[node.id] = one
    state.journal.act_out_of_band(node.id, one.number, power_off=one.power_off)


def ask_off(
    state: State, node: NodeNow, event: ClientRequest, request: DeclareOff, now: Now
) -> Answer | None:
    """Confirms, at an operator's request, a node as off, or powers it off. None: answered later."""
    refusal = _refusal(state, node, request)
    if refusal:
        return Denied("conflict", refusal)
    what = "switched off out of band" if request.power_off else "queried for its power state"
    reason = request.reason or f"requested by {event.user}"
    text = f"{node.id} is {what}: {reason}"
    state.journal.act("out_of_band_ordered", text, now, actor=event.user, node=node.id)
    number = state.off_attempts.next_number()
    one = OffAttempt(
        number,
        now.mono_s,
        request.power_off,
        event.user,
        reason,
        "operator",
        event.client,
        event.ask,
    )
    _order(state, node, one)
    return None


def _refusal(state: State, node: NodeNow, request: DeclareOff) -> str:
    declared = node.site.out_of_band
    if declared is None or (request.power_off and not declared.can_switch_off):
        return f"the site file names no out-of-band way to switch {node.id} off"
    if state.off_attempts.is_busy(node.id):
        return f"{node.id} is already being queried or switched off; retry later"
    if len(state.off_attempts.under_way) >= MAX_UNDER_WAY:
        return f"{MAX_UNDER_WAY} hosts are already being switched off; retry later"
    if not node.is_reachable:
        return ""
    if not request.power_off:
        return f"{node.id} reports, so it has power; drain it and switch it off first"
    if node.attempts or not node.record.is_draining:
        return f"{node.id} reports; drain it and wait until it has no tasks"
    return ""


def out_of_band_done(state: State, event: OutOfBandDone, now: Now) -> None:
    """Counts the node off if it was seen off; otherwise it stays in the books."""
    one = state.off_attempts.end(event.node, event.number)
    if one is None:
        return
    node = state.nodes[event.node]
    if one.purpose == "check":
        take_check(state, node, event, now)
        return
    why_not = _why_not(node, event, now)
    if why_not:
        _failed(state, node, one, why_not, now)
        return
    text = count_off(state, node, one.requester, "its out-of-band status", one.reason, now)
    _answer(state, one, Done(text))


def _why_not(node: NodeNow, event: OutOfBandDone, now: Now) -> str:
    seen_at = event.seen_off_at
    if seen_at is None:
        return event.error or "its power state was not confirmed as off"
    if node.heard_at is not None and node.heard_at > seen_at:
        return (
            "its agent reported after that confirmed it as off; does the BMC belong to this host?"
        )
    if now.mono_s - seen_at > BELIEVED_S:
        return f"the confirmation is {now.mono_s - seen_at:.0f} s old"
    return ""


def _failed(state: State, node: NodeNow, one: OffAttempt, why: str, now: Now) -> None:
    wait_s = state.off_attempts.failed(node.id, now.mono_s)
    _withdraw(state, node)
    text = f"{node.id} is not confirmed off: {why}; its watts stay committed"
    again = f"; not tried again for {wait_s:.0f} s" if not one.client else ""
    begin(state, "out_of_band_failed", node.id, text + again, now, node=node.id)
    advice = f"Once you have verified that it has no power: --confirm {node.id}"
    _answer(state, one, Denied("conflict", f"{node.id} is not confirmed off: {why}. {advice}"))


def void_attempt(state: State, node: NodeNow, why: str, now: Now) -> None:
    """Voids an attempt under way, since something newer is known of the node."""
    one = state.off_attempts.under_way.pop(node.id, None)
    state.off_attempts.forget(node.id)
    _withdraw(state, node)
    end(state, "out_of_band_failed", node.id, now, f"{node.id}: {why}")
    if one is not None:
        _answer(state, one, Denied("conflict", f"{node.id} is not counted as off: {why}"))


def _withdraw(state: State, node: NodeNow) -> None:
    """Clears the intent to fence; that it is off is cleared by what ends its off state."""
    if node.record.fence == "ordered":
        state.journal.change(node, fence="")


def _answer(state: State, one: OffAttempt, answer: Answer) -> None:
    if one.client:
        state.journal.reply(one.client, one.ask, answer)
