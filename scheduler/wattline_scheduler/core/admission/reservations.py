"""Nodes that operators keep from a time to a time: what that means now for whom.

Who may start where goes by the wall clock at the moment of the plan; a tick only tells that one has
begun or is over, and wakes the jobs that name it. How they are made: `reserving`.
"""

import msgspec
import numpy as np

from wattline_protocol.ids import JobId, NodeId, Now, UserName
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.wire.client_messages import Denied
from wattline_protocol.wire.reservations import whom_said
from wattline_scheduler.core.model.jobs.job_names import named
from wattline_scheduler.core.model.journal import SCHEDULER
from wattline_scheduler.core.model.not_found import not_there
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.model.reserved_nodes import Reservations, Span
from wattline_scheduler.records import ReservationPhase, ReservationRecord

ANOTHER = "name another one, or none"
"""What would be right where a reservation is not."""

MAX_NODES_NAMED = 10
"""In one sentence."""


def reserved(state: State, now: Now) -> Reservations | None:
    """As the planner sees them; None where there are none."""
    if not state.reservations:
        return None
    if state.reserved is None or not state.reserved.is_good_at(now.unix_s):
        spans = [_span(state, record) for record in state.reservations.values()]
        state.reserved = Reservations(spans, len(state.nodes), now.unix_s)
    return state.reserved.at(now.unix_s)


def reserved_said(state: State, node: NodeId, now: Now) -> str:
    """What is reserved of a node now, or next, in words; empty = nothing."""
    seen = reserved(state, now)
    return "" if seen is None else seen.said(state.picture.position[node])


def _span(state: State, record: ReservationRecord) -> Span:
    """A node that has left the site file is left out."""
    position, said = state.picture.position, state.calendar.said
    nodes = [position[node] for node in record.nodes if node in position]
    return Span(
        record.name,
        record.start_unix_s,
        record.end_unix_s,
        np.array(nodes, np.int64),
        whom_said(record.accounts, record.users),
        said(record.start_unix_s),
        said(record.end_unix_s),
    )


def is_active(record: ReservationRecord, now: Now) -> bool:
    return record.start_unix_s <= now.unix_s < record.end_unix_s


def waits_for(state: State, spec: JobSpec, now: Now) -> str:
    """That such a job waits for its reservation to begin; empty = that has begun, or is over."""
    record = state.reservations.get(spec.reservation)
    if record is None or record.start_unix_s <= now.unix_s:
        return ""
    begins = state.calendar.said(record.start_unix_s)
    return f"waits for its reservation {record.name}, which begins {begins}"


def gone(state: State, spec: JobSpec, now: Now) -> str:
    """That what such a job names keeps nothing any more; empty = it does, or none is named."""
    name, record = spec.reservation, state.reservations.get(spec.reservation)
    if not name or (record is not None and now.unix_s < record.end_unix_s):
        return ""
    how = "with `wattline update --reservation`"
    return f"its reservation {name} is over or was taken back; {ANOTHER}, {how}"


def refusal(state: State, owner: UserName, spec: JobSpec) -> Denied | None:
    """Why such a job may not name its reservation; None = it may, or names none."""
    if not spec.reservation:
        return None
    record = state.reservations.get(spec.reservation)
    if record is None:
        return not_there("reservation", spec.reservation, state.reservations)
    accounts = {spec.account or owner, *state.work.quotas.accounts_above(spec.account or owner)}
    if owner not in record.users and accounts.isdisjoint(record.accounts):
        whom = whom_said(record.accounts, record.users)
        who = f"account {spec.account}, user {owner}" if spec.account else f"user {owner}"
        return Denied("not_allowed", f"reservation {record.name} is for {whom}; this is {who}")
    return None


def tick_reservations(state: State, now: Now) -> None:
    """At every tick: tell which have begun and which are over."""
    for record in list(state.reservations.values()):
        if record.end_unix_s <= now.unix_s:
            end(state, record, f"{record.name} is over", SCHEDULER, now)
        elif record.phase == "planned" and is_active(record, now):
            _put(state, record, "active", now)
            text = f"reservation {record.name} has begun: {said(state, record)}"
            others = by_part(state, record)[1]
            still = f"; {named(others)} still run{'' if len(others) > 1 else 's'} there"
            text += still if others else ""
            state.journal.act("reservation_begun", text, now, who=record.who)


def end(state: State, record: ReservationRecord, text: str, who: str, now: Now) -> None:
    """It keeps nothing any more."""
    del state.reservations[record.name]
    _put(state, record, "over", now)
    state.journal.act("reservation_over", f"reservation {text}", now, who=who)


def keep(state: State, record: ReservationRecord, now: Now) -> None:
    """A new one."""
    _put(state, record, "planned", now)


def _put(state: State, record: ReservationRecord, phase: ReservationPhase, now: Now) -> None:
    record = msgspec.structs.replace(record, phase=phase)
    if phase != "over":
        state.reservations[record.name] = record
    state.reserved = None
    state.verdicts_inside.clear()
    state.journal.save(record)
    state.wants_plan = True
    look_at_jobs(state, now, of=record.name)


def look_at_jobs(state: State, now: Now, of: str = "") -> None:
    """See to it that those who name this one, or any, say what that means for them now."""
    for job in state.work.jobs.values():
        named_ = job.spec.reservation
        if named_ and of in ("", named_) and not job.is_ended:
            state.work.alarms.set(job.id, now.unix_s)


def by_part(state: State, record: ReservationRecord) -> tuple[tuple[JobId, ...], ...]:
    """Jobs that run on its nodes: those of it, and the others."""
    nodes = (state.nodes[name] for name in record.nodes if name in state.nodes)
    jobs = {a.gang.job.id: a.gang.job for node in nodes for a in node.attempts.values()}
    inside = {number for number, job in jobs.items() if job.spec.reservation == record.name}
    return tuple(sorted(inside)), tuple(sorted(jobs.keys() - inside))


def nodes_said(count: int) -> str:
    """`1 node`, `3 nodes`."""
    return f"{count} node{'' if count == 1 else 's'}"


def said(state: State, record: ReservationRecord) -> str:
    """`a1, a2 (2 nodes) for account vision from … until …`."""
    count, calendar = len(record.nodes), state.calendar
    shown = ", ".join(record.nodes[:MAX_NODES_NAMED])
    more = ", …" if count > MAX_NODES_NAMED else ""
    whom = whom_said(record.accounts, record.users)
    times = f"from {calendar.said(record.start_unix_s)} until {calendar.said(record.end_unix_s)}"
    return f"{nodes_said(count)} ({shown}{more}) for {whom} {times}"
