"""Grid events: budget limits with a start and an end, announced by the grid operator.

An event is a limit with a start. Its id stays taken until its end, even if it is cancelled, so that
a repeated announcement never revives a cancelled event.
"""

import msgspec

from wattline_protocol.ids import Now, UnixTime, UserName
from wattline_protocol.text.names import check_name
from wattline_protocol.text.wording import power_text
from wattline_protocol.wire.client_messages import Answer, CancelGridEvent, Denied, Done, GridEvent
from wattline_scheduler.core.leases import budget_limits
from wattline_scheduler.core.leases.fault_barrier import total
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.shed import MAX_RAMP_S, MAX_SHED_S, no_domain, power_root
from wattline_scheduler.records import LimitRecord

MAX_EVENTS = 1_000
"""Maximum number of open events on the whole site."""

MAX_EVENTS_PER_DOMAIN = 50
"""Below the maximum of `Limits`, so that an accepted event can always begin."""

MAX_REASON_CHARS = 500


def add(state: State, user: UserName, request: GridEvent, now: Now) -> Answer:
    """Schedules an event; it begins automatically, at once if its start has passed."""
    problem = total(state, "grid event", user, lambda: _problem(state, request, now), now)
    if problem is not None:
        return problem
    record = _record(state, user, request, now)
    known = _find(state, request.id)
    if known is not None:
        return _again(known, record, is_now=request.start_unix_s == 0)
    full = _too_many(state, record)
    if full is not None:
        return full
    state.limits[record.domain, record.name] = record
    state.journal.save(record)
    at = state.calendar.text
    text = (
        f"{record.domain}: {record.name} limits the budget to {power_text(record.value_mw)} from "
        f"{at(record.start_unix_s)} until {at(record.end_unix_s or 0.0)}"
    )
    why = f" ({record.why})" if record.why else ""
    state.journal.act("grid_event_planned", text + why, now, actor=user)
    return Done(text)


def _problem(state: State, request: GridEvent, now: Now) -> Denied | None:
    domain = request.domain or power_root(state)
    if domain not in state.domains.by_id:
        return no_domain(state, domain)
    text = _bad_name(request) or _bad_amount(state, request) or _bad_times(request, now)
    return Denied("bad_request", text) if text else None


def _bad_name(request: GridEvent) -> str:
    try:
        check_name(request.id)
    except ValueError as error:
        return f"the id {request.id[:80]!r} of the event: {error}"
    if len(request.reason) > MAX_REASON_CHARS:
        return f"a reason has at most {MAX_REASON_CHARS} characters"
    return ""


def _bad_amount(state: State, request: GridEvent) -> str:
    given = [request.fraction != 0, request.by_mw != 0, request.to_mw != 0]
    if sum(given) != 1:
        return "give one of: a share to shed (25%), watts to shed, or the watts that remain"
    domain = request.domain or power_root(state)
    full_mw = state.domains.limits.full_mw(domain)
    budget = f"the budget of {domain} is {power_text(full_mw)}"
    if not 0 <= request.fraction <= 1:
        return f"the share must be between 0 and 1, not {request.fraction}"
    if not 0 <= request.by_mw <= full_mw:
        return f"cannot shed {power_text(request.by_mw)}: {budget}"
    if request.to_mw < 0 or request.to_mw >= full_mw:
        return f"a limit of {power_text(request.to_mw)} has no effect: {budget}"
    return ""


def _bad_times(request: GridEvent, now: Now) -> str:
    start_unix_s = request.start_unix_s or now.unix_s
    lasts_s = request.end_unix_s - start_unix_s
    if not 0 <= start_unix_s <= now.unix_s + MAX_SHED_S:
        return "the event must start within a year"
    if not request.end_unix_s > now.unix_s:
        return "the end of the event is in the past"
    if not 0 < lasts_s <= MAX_SHED_S:
        return "the event must end after its start, within a year of it"
    if not (0 <= request.ramp_s <= MAX_RAMP_S and 0 <= request.release_s <= MAX_RAMP_S):
        return "ramps must be between 0 and 86400 s"
    if request.ramp_s > lasts_s:
        return f"the ramp ({request.ramp_s:g} s) is longer than the event"
    return ""


def _record(state: State, user: UserName, request: GridEvent, now: Now) -> LimitRecord:
    domain = request.domain or power_root(state)
    full_mw = state.domains.limits.full_mw(domain)
    by_mw = request.by_mw or round(full_mw * request.fraction)
    return LimitRecord(
        domain=domain,
        name=f"event {request.id}",
        source="event",
        phase="planned",
        value_mw=request.to_mw or full_mw - by_mw,
        from_mw=None,
        start_unix_s=UnixTime(request.start_unix_s or now.unix_s),
        ramp_s=request.ramp_s,
        end_unix_s=UnixTime(request.end_unix_s),
        release_s=request.release_s,
        requester=user,
        why=request.reason,
    )


def _find(state: State, id_: str) -> LimitRecord | None:
    name = f"event {id_}"
    return next((record for (_, of), record in state.limits.items() if of == name), None)


def _again(known: LimitRecord, asked: LimitRecord, *, is_now: bool) -> Answer:
    """Accepts a repeated identical announcement; denies a different one under the same id."""
    if known.phase == "cancelled":
        return Denied("conflict", f"{known.name} was cancelled; announce it under a new id")
    same = msgspec.structs.replace(
        asked, phase=known.phase, from_mw=known.from_mw, requester=known.requester, why=known.why
    )
    if is_now:
        same = msgspec.structs.replace(
            same, start_unix_s=known.start_unix_s, end_unix_s=known.end_unix_s
        )
    if same != known:
        return Denied(
            "conflict",
            f"{known.name} exists with another domain, value or time; cancel it and announce "
            "the change under a new id",
        )
    return Done(
        f"{known.name} is already announced: {known.domain}, {known.phase.replace('_', ' ')}"
    )


def _too_many(state: State, record: LimitRecord) -> Denied | None:
    events = [one for one in state.limits.values() if one.source == "event"]
    if len(events) >= MAX_EVENTS:
        return Denied("busy", f"the site has {MAX_EVENTS} events already; cancel some")
    if sum(one.domain == record.domain for one in events) >= MAX_EVENTS_PER_DOMAIN:
        return Denied(
            "busy",
            f"{record.domain} has {MAX_EVENTS_PER_DOMAIN} events already; cancel some",
        )
    return None


def cancel(state: State, user: UserName, request: CancelGridEvent, now: Now) -> Answer:
    """Cancels an event; the remaining limits set the budget at once."""
    record = _find(state, request.id)
    if record is None or record.phase in ("cancelled", "rising"):
        known = [r.name for r in state.limits.values() if r.source == "event"]
        what = "is already cancelled or over" if record else "does not exist"
        listed = ", ".join(known[:10]) or "none"
        return Denied("not_found", f"event {request.id} {what}; events: {listed}")
    budget_limits.cancel(state, record, now)
    why = f" ({request.reason})" if request.reason else ""
    text = f"{record.domain}: {record.name} is cancelled"
    state.journal.act("grid_event_cancelled", text + why, now, actor=user, level="warning")
    return Done(text)
