"""Reservations: nodes reserved for users or accounts from a start to an end.

Plans apply reservations by the wall clock at their own time. Ticks only report that one has begun
or ended, and wake the jobs that name it. Created and removed in `reserve`.
"""

import msgspec
import numpy as np

from wattline_protocol.ids import JobId, NodeId, Now, UserName
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.text.wording import counted, listed, named
from wattline_protocol.wire.client_messages import Denied
from wattline_protocol.wire.reservations import format_grantees
from wattline_scheduler.core.model.journal import SCHEDULER
from wattline_scheduler.core.model.not_found import not_there
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.model.reserved_nodes import Reservations, Span
from wattline_scheduler.records import ReservationPhase, ReservationRecord

ANOTHER = "name another one, or none"
"""Advice to a job with an unusable reservation."""

MAX_NODES_NAMED = 10
"""Maximum number of nodes named in one sentence."""


def reserved(state: State, now: Now) -> Reservations | None:
    """Reservations in the planner's form; None if there are none."""
    if not state.reservations:
        return None
    if state.reserved is None or not state.reserved.is_valid_at(now.unix_s):
        spans = [_span(state, record) for record in state.reservations.values()]
        state.reserved = Reservations(spans, len(state.nodes), now.unix_s)
    return state.reserved.at(now.unix_s)


def reserved_text(state: State, node: NodeId, now: Now) -> str:
    """Text about the current or next reservation of a node; empty = none."""
    seen = reserved(state, now)
    return "" if seen is None else seen.text(state.fleet_view.position[node])


def _span(state: State, record: ReservationRecord) -> Span:
    """The planner's form of one; omits nodes that have left the site file."""
    position, at = state.fleet_view.position, state.calendar.text
    nodes = [position[node] for node in record.nodes if node in position]
    return Span(
        record.name,
        record.start_unix_s,
        record.end_unix_s,
        np.array(nodes, np.int64),
        format_grantees(record.accounts, record.users),
        at(record.start_unix_s),
        at(record.end_unix_s),
    )


def is_active(record: ReservationRecord, now: Now) -> bool:
    return record.start_unix_s <= now.unix_s < record.end_unix_s


def waits_for(state: State, spec: JobSpec, now: Now) -> str:
    """Text that such a job waits for its reservation to begin; empty = it has begun, or is over."""
    record = state.reservations.get(spec.reservation)
    if record is None or record.start_unix_s <= now.unix_s:
        return ""
    begins = state.calendar.text(record.start_unix_s)
    return f"waits for its reservation {record.name}, which begins {begins}"


def ended_text(state: State, spec: JobSpec, now: Now) -> str:
    """Text that its reservation has ended or was removed; empty = neither, or it names none."""
    name, record = spec.reservation, state.reservations.get(spec.reservation)
    if not name or (record is not None and now.unix_s < record.end_unix_s):
        return ""
    how = "with `wattline update --reservation`"
    return f"its reservation {name} has ended or was cancelled; {ANOTHER}, {how}"


def refusal(state: State, owner: UserName, spec: JobSpec) -> Denied | None:
    """Denies a reservation that the job may not name; None = allowed, or none."""
    if not spec.reservation:
        return None
    record = state.reservations.get(spec.reservation)
    if record is None:
        return not_there("reservation", spec.reservation, state.reservations)
    accounts = {spec.account or owner, *state.work.quotas.accounts_above(spec.account or owner)}
    if owner not in record.users and accounts.isdisjoint(record.accounts):
        grantees = format_grantees(record.accounts, record.users)
        submitter = f"account {spec.account}, user {owner}" if spec.account else f"user {owner}"
        text = f"reservation {record.name} is for {grantees}; this is {submitter}"
        return Denied("not_allowed", text)
    return None


def tick_reservations(state: State, now: Now) -> None:
    """Reports reservations that have begun or ended, at every tick."""
    for record in list(state.reservations.values()):
        if record.end_unix_s <= now.unix_s:
            end(state, record, f"{record.name} has ended", SCHEDULER, now)
        elif record.phase == "planned" and is_active(record, now):
            _put(state, record, "active", now)
            text = f"reservation {record.name} has begun: {describe(state, record)}"
            others = by_part(state, record)[1]
            still = f"; {named('job', others)} still run{'' if len(others) > 1 else 's'} there"
            text += still if others else ""
            state.journal.act("reservation_begun", text, now, actor=record.requester)


def end(state: State, record: ReservationRecord, text: str, actor: str, now: Now) -> None:
    """Ends a reservation."""
    del state.reservations[record.name]
    _put(state, record, "over", now)
    state.journal.act("reservation_over", f"reservation {text}", now, actor=actor)


def add(state: State, record: ReservationRecord, now: Now) -> None:
    """Adds a reservation."""
    _put(state, record, "planned", now)


def _put(state: State, record: ReservationRecord, phase: ReservationPhase, now: Now) -> None:
    record = msgspec.structs.replace(record, phase=phase)
    if phase != "over":
        state.reservations[record.name] = record
    state.reserved = None
    state.verdicts_inside.clear()
    state.journal.save(record)
    state.wants_plan = True
    wake_jobs(state, now, of=record.name)


def wake_jobs(state: State, now: Now, of: str = "") -> None:
    """Wakes the jobs that name this reservation, or any if empty, to evaluate it again."""
    for job in state.work.jobs.values():
        named_ = job.spec.reservation
        if named_ and of in ("", named_) and not job.is_ended:
            state.work.timers.set(job.id, now.unix_s)


def by_part(state: State, record: ReservationRecord) -> tuple[tuple[JobId, ...], ...]:
    """Jobs that run on its nodes: those in it, and the others."""
    nodes = (state.nodes[name] for name in record.nodes if name in state.nodes)
    jobs = {a.gang.job.id: a.gang.job for node in nodes for a in node.attempts.values()}
    inside = {number for number, job in jobs.items() if job.spec.reservation == record.name}
    return tuple(sorted(inside)), tuple(sorted(jobs.keys() - inside))


def describe(state: State, record: ReservationRecord) -> str:
    """Formats `a1, a2 (2 nodes) for account vision from … until …`."""
    calendar, nodes = state.calendar, listed(record.nodes, MAX_NODES_NAMED)
    grantees = format_grantees(record.accounts, record.users)
    times = f"from {calendar.text(record.start_unix_s)} until {calendar.text(record.end_unix_s)}"
    return f"{counted(len(record.nodes), 'node')} ({nodes}) for {grantees} {times}"
