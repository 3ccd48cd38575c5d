"""Operator actions on nodes: drain and undrain, declare off and on."""

import msgspec

from wattline_protocol.ids import Now, UserName
from wattline_protocol.text.quantities import format_clipped
from wattline_protocol.wire.client_messages import (
    Answer,
    DeclareOff,
    DeclareOn,
    Denied,
    Done,
    Drain,
    Undrain,
)
from wattline_scheduler.core.emergency import fencing
from wattline_scheduler.core.emergency.node_off import count_off
from wattline_scheduler.core.leases.overruns import note_overruns
from wattline_scheduler.core.lifecycle.ending import end_gang, note_drained
from wattline_scheduler.core.model.events import ClientRequest
from wattline_scheduler.core.model.jobs.job import Ending
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.queue.remaining_time import empty_within_s
from wattline_scheduler.core.model.state import State


def drain(state: State, node: NodeNow, user: UserName, request: Drain, now: Now) -> Answer:
    """Stops placement on the node; running tasks continue, or are requeued.

    A repeated drain without a reason preserves the previous reason.
    """
    before = node.record.drain_reason if node.record.is_draining else ""
    reason = request.reason or before or f"drained by {user}"
    state.journal.change(node, is_draining=True, drain_reason=reason)
    node.outdate_offer()
    text = f"{node.id} is draining: {node.record.drain_reason}"
    state.journal.act("node_draining", text, now, actor=user, node=node.id)
    gangs = {a.gang.key: a.gang for a in node.attempts.values()} if request.is_now else {}
    for key in sorted(gangs):
        if not isinstance(gangs[key].phase, Ending):
            end_gang(state, gangs[key], "asked", f"{node.id} is drained: {reason}", now)
    note_drained(state, node, now)
    return Done(f"{node.id} {_how_far(node, now)}")


def _how_far(node: NodeNow, now: Now) -> str:
    """Describes what still runs on a draining node, and for how long at most."""
    count = len(node.attempts)
    if not count:
        return "is drained"
    tasks = "1 task still runs" if count == 1 else f"{count} tasks still run"
    if all(isinstance(a.gang.phase, Ending) for a in node.attempts.values()):
        return f"is draining: {tasks}, being stopped"
    left_s = empty_within_s(node, now)
    if left_s is None:
        return f"is draining: {tasks}, {'' if count == 1 else 'some '}without a time limit"
    return f"is draining: {tasks}, for at most {format_clipped(left_s)}"


def undrain(state: State, node: NodeNow, user: UserName, request: Undrain, now: Now) -> Answer:
    """Makes the node schedulable again."""
    del request
    if not node.record.is_draining:
        return Denied("conflict", f"{node.id} is not drained (state: {node.state})")
    state.journal.change(node, is_draining=False, drain_reason="", drained_unix_s=None)
    node.outdate_offer()
    text = f"{node.id} accepts tasks again"
    state.journal.act("node_undrained", text, now, actor=user, node=node.id)
    state.wants_plan = True
    return Done(text)


def declare_off(
    state: State, node: NodeNow, event: ClientRequest, request: DeclareOff, now: Now
) -> Answer | None:
    """Records the operator's word that the node is off, or fences it; None: answered later."""
    is_typed = bool(request.confirmation) and not request.power_off
    if request.power_off or (node.site.out_of_band is not None and not is_typed):
        return fencing.ask_off(state, node, event, request, now)
    if request.confirmation != node.id:
        return Denied(
            "bad_request",
            f"confirmation {request.confirmation!r} is not the node's name; type {node.id!r} once "
            "you have verified that it has no power",
        )
    if node.is_reachable:
        return Denied(
            "conflict",
            f"{node.id} reports, so it has power; drain it and switch it off first",
        )
    fencing.void_attempt(state, node, f"{event.user} declared it off manually", now)
    why = request.reason or f"declared off by {event.user}"
    return Done(count_off(state, node, event.user, event.user, why, now))


def declare_on(state: State, node: NodeNow, user: UserName, request: DeclareOn, now: Now) -> Answer:
    """Lets the node draw again: it counts at nameplate until its Hello."""
    del request
    fencing.void_attempt(state, node, f"{user} is about to switch it on", now)
    if not node.record.is_off and not node.is_reachable and node.site.out_of_band is not None:
        state.journal.change(node, is_spared=True)
        text = f"{node.id} is not off; it is not switched off out of band before it reports"
        state.journal.act("node_spared", text, now, actor=user, node=node.id)
        return Done(text)
    if not node.record.is_off:
        return Denied("conflict", f"{node.id} is not off (state: {node.state})")
    node.record = msgspec.structs.replace(node.record, is_off=False, off_reason="", fence="")
    node.is_silent = False
    state.journal.save(node.record)
    state.journal.save(state.books.declare_on(node.id))
    node.outdate_offer()
    text = f"{node.id} is declared on: it counts at nameplate until it reports"
    state.journal.act("node_on", text, now, actor=user, node=node.id)
    note_overruns(state, f"{node.id} was declared on", now)
    return Done(text)
