"""Budget limits: begin, change, end, and persistence. A limit lowers a budget until an end.

All sources pass through here: operators, schedules, grid events and the controllers (cooling,
meters); the arithmetic is in `power.topology.budgets`. Once a limit has begun, its times run on the
monotonic clock, so that a jump of the wall clock changes nothing; a restart uses the wall clock.

A controller's limit is saved too, rounded down to a step of 1 % of the full budget. After a restart
it stays in force, as a step without an end, until the controller has readings again and updates or
withdraws it: nothing better is known.
"""

import msgspec

from wattline_protocol.ids import DomainId, Instant, Now, UnixTime
from wattline_protocol.text.wording import power_text
from wattline_protocol.views.site_views import LimitSource
from wattline_scheduler.core.leases.overruns import note_overruns, note_recovery
from wattline_scheduler.core.model.journal import SCHEDULER
from wattline_scheduler.core.model.state import State
from wattline_scheduler.power.topology.budgets import Limit
from wattline_scheduler.records import LimitRecord

ARM_S = 3.0
"""Time before its begin at which a limit is passed to the allocator, so that it is met on time."""

CONTROLLERS: tuple[LimitSource, ...] = ("cooling", "meter")
"""Sources that update their limit every second."""

REMEMBERED_PERMILLE = 10
"""Step in which a controller's limit is saved, as a share of the full budget."""


# --- limits of controllers --------------------------------------------------------------------


def put_limit(state: State, limit: Limit, now: Now) -> Limit:
    """Puts a controller's limit in force, or updates it; called as often as it changes.

    `limit.source` is "cooling" or "meter". To lower a budget gradually without its domain ever
    exceeding it, give each update a `ramp_s` of the update period. Writes no audit record: the
    controller reports the cause itself.
    """
    if limit.source not in CONTROLLERS:
        raise ValueError(f"{limit.source} limits are requests with an end")
    known = state.domains.put(limit, now.mono_s)
    full_mw = state.domains.limits.full_mw(limit.domain)
    step_mw = max(1, full_mw * REMEMBERED_PERMILLE // 1000)
    rounded_mw = max(0, limit.value_mw) // step_mw * step_mw
    before = state.limits.get((limit.domain, limit.name))
    if before is None or before.value_mw != rounded_mw:
        _save(
            state,
            LimitRecord(
                domain=limit.domain,
                name=limit.name,
                source=limit.source,
                phase="in_force",
                value_mw=rounded_mw,
                from_mw=rounded_mw,
                start_unix_s=before.start_unix_s if before else now.unix_s,
                requester=limit.requester or SCHEDULER,
                why=limit.why,
            ),
        )
    _changed(state, limit.domain, f"the {limit.source} limit of {limit.domain} fell", now)
    return known


def withdraw_limit(state: State, domain: DomainId, name: str, now: Now) -> bool:
    """Removes a controller's limit; False if there was none. Writes no audit record."""
    record = state.limits.get((domain, name))
    if record is None:
        return False
    drop(state, record, now)
    return True


# --- limits of operators, schedules and grid events -------------------------------------------


def begin(state: State, record: LimitRecord, now: Now) -> LimitRecord:
    """Puts a limit in force, from now or from a start within `ARM_S`; saved before any lease."""
    known = state.domains.put(limit_of(record, now), now.mono_s)
    record = msgspec.structs.replace(record, phase="in_force", from_mw=known.from_mw)
    _save(state, record)
    state.rebalanced_at = None  # exempt from the pace of rebalancing
    return record


def note_effects(state: State, record: LimitRecord, cause: str, now: Now) -> None:
    """Reports which domains a new limit put above budget, if any, after the limit's audit record.

    Separate from `begin` so that the record of the limit precedes those of its effect.
    """
    domain = record.domain
    _changed(state, domain, cause, now)
    is_step = record.ramp_s <= 0 and record.start_unix_s <= now.unix_s
    if is_step and domain not in state.overruns:
        state.journal.note("budget_met", f"{domain} was within its lower budget already", now)


def release(state: State, record: LimitRecord, release_s: float, now: Now) -> None:
    """Raises the budget from its current value to the full one, at once or over `release_s`."""
    limits = state.domains.limits
    known = limits.get(record.domain, record.name)
    if release_s <= 0 or known is None:
        drop(state, record, now)
        return
    now_mw = known.at_mw(now.mono_s, limits.full_mw(record.domain))
    rising = msgspec.structs.replace(
        record,
        phase="rising",
        value_mw=now_mw,
        from_mw=now_mw,
        ramp_s=0.0,
        end_unix_s=now.unix_s,
        release_s=release_s,
    )
    _save(state, rising)
    state.domains.put(limit_of(rising, now), now.mono_s)


def drop(state: State, record: LimitRecord, now: Now) -> None:
    """Ends the limit."""
    del state.limits[record.domain, record.name]
    state.domains.withdraw(record.domain, record.name, now.mono_s)
    state.journal.save(msgspec.structs.replace(record, phase="over", end_unix_s=now.unix_s))
    _changed(state, record.domain, "", now)


def cancel(state: State, record: LimitRecord, now: Now) -> None:
    """Cancels a limit; its name stays taken until its end."""
    state.domains.withdraw(record.domain, record.name, now.mono_s)
    _save(state, msgspec.structs.replace(record, phase="cancelled"))
    _changed(state, record.domain, "", now)


def tick_limits(state: State, now: Now) -> None:
    """Advances ramps and ends expired limits, at every tick."""
    has_moved = state.domains.refresh(now.mono_s)
    for domain in dict.fromkeys(limit.domain for limit in state.domains.limits):
        if state.books.headroom_mw(domain) < 0 and domain not in state.overruns:
            note_overruns(state, _cause(state, domain, now), now, is_shed=True)
    if has_moved:
        _recovered(state, now)
    for limit in tuple(state.domains.limits):
        if limit.end is not None and now.mono_s >= limit.end:
            _ended(state, state.limits[limit.domain, limit.name], limit, now)


def _cause(state: State, domain: DomainId, now: Now) -> str:
    limit = state.domains.limits.binding(domain, now.mono_s)
    if limit is None or limit.ramp_s <= 0:
        return f"budget of {domain} lowered by {limit.name if limit else 'a limit'}"
    return "its leases exceed its ramping budget"


def _ended(state: State, record: LimitRecord, limit: Limit, now: Now) -> None:
    if limit.over_at is not None and now.mono_s >= limit.over_at:
        drop(state, record, now)
        note_restored(state, record, SCHEDULER, "its time has ended", now)
    elif record.phase != "rising":
        _save(state, msgspec.structs.replace(record, phase="rising"))
        text = f"{record.domain}: the {record.name} has ended; the budget rises again"
        state.journal.note("budget_rising", text, now)


def note_restored(state: State, record: LimitRecord, actor: str, reason: str, now: Now) -> str:
    """Writes the audit record of a limit that has ended."""
    domain = record.domain
    budget_mw, full_mw = state.domains.budget_mw(domain), state.domains.limits.full_mw(domain)
    left = "full budget" if budget_mw >= full_mw else "budget (other limits in force)"
    text = f"{domain}: {left} of {power_text(budget_mw)} restored"
    why = f" ({reason})" if reason else ""
    state.journal.act("budget_restored", text + why, now, actor=actor)
    return text


# --- restart ----------------------------------------------------------------------------------


def reload_limit(state: State, record: LimitRecord, now: Now) -> None:
    """Puts a saved limit in force again; its remaining time runs from now."""
    if record.phase == "over":
        return
    if record.domain not in state.domains.by_id:
        state.journal.save(msgspec.structs.replace(record, phase="over", end_unix_s=now.unix_s))
        text = f"{record.name} of {record.domain} has ended: the site file has no such domain"
        state.journal.note("limit_dropped", text, now, level="warning")
        return
    state.limits[record.domain, record.name] = record
    if record.phase in ("in_force", "rising"):
        state.domains.put(limit_of(record, now), now.mono_s)


def limit_of(record: LimitRecord, now: Now) -> Limit:
    """Converts a record to the monotonic clock, as of now."""

    def instant(unix_s: UnixTime) -> Instant:
        return Instant(now.mono_s + (unix_s - now.unix_s))

    return Limit(
        domain=record.domain,
        name=record.name,
        source=record.source,
        value_mw=record.value_mw,
        start=instant(record.start_unix_s),
        from_mw=record.from_mw,
        ramp_s=record.ramp_s,
        end=None if record.end_unix_s is None else instant(record.end_unix_s),
        release_s=record.release_s,
        requester=record.requester,
        why=record.why,
    )


# --- effects of a change ----------------------------------------------------------------------


def _save(state: State, record: LimitRecord) -> None:
    state.limits[record.domain, record.name] = record
    state.journal.save(record)


def _changed(state: State, domain: DomainId, cause: str, now: Now) -> None:
    if state.books.headroom_mw(domain) < 0 and cause:
        note_overruns(state, cause, now, is_shed=True)
    _recovered(state, now)


def _recovered(state: State, now: Now) -> None:
    note_recovery(state, now)
    state.wants_rebalance = state.wants_plan = True
