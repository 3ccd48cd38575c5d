"""Scheduled limits: schedule windows and grid events, put in force at their start.

They follow the wall clock until they begin, because they are agreed as times of day. From then on
they are like every limit (see `budget_limits`). When the clock is set back, windows are computed
again; events do not change their times.
"""

import msgspec

from wattline_protocol.ids import Now
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.wording import power_text
from wattline_scheduler.core.leases import budget_limits
from wattline_scheduler.core.model.calendar import Entry
from wattline_scheduler.core.model.journal import SCHEDULER
from wattline_scheduler.core.model.state import State
from wattline_scheduler.records import LimitRecord

CLOCK_SET_BACK_S = 1.0
"""Set-back of the wall clock above which the calendar is computed again."""

CLOCK_BEHIND_S = 60.0
"""A completed window may still be open for this long by a wall clock that was slowed or set back
meanwhile: it does not open again."""


def tick_planned(state: State, now: Now) -> None:
    """Looks up windows, begins due limits, drops cancelled ones, at every tick."""
    _update_planned(state, now)
    for record in list(state.limits.values()):
        if record.phase == "planned" and record.start_unix_s <= now.unix_s + budget_limits.ARM_S:
            _begin(state, record, now)
        elif record.phase == "cancelled" and _is_past(record, now):
            budget_limits.drop(state, record, now)


def _update_planned(state: State, now: Now) -> None:
    calendar = state.calendar
    if now.unix_s < calendar.newest_unix_s - CLOCK_SET_BACK_S:
        for entry in calendar.entries:
            known = state.limits.get(entry.key)
            if known is not None and known.phase == "planned":
                del state.limits[entry.key]
    calendar.newest_unix_s = now.unix_s
    for entry in calendar.entries:
        known = state.limits.get(entry.key)
        if known is None or known.phase == "rising":
            _plan(state, entry, known, now)


def _plan(state: State, entry: Entry, rising: LimitRecord | None, now: Now) -> None:
    """A window that opens while the one before still rises replaces it."""
    upcoming = state.calendar.upcoming(entry, now)
    if upcoming is None or _had_its_time(state, entry, upcoming, now):
        return
    if rising is None or upcoming.start_unix_s <= now.unix_s + budget_limits.ARM_S:
        state.limits[entry.key] = upcoming


def _had_its_time(state: State, entry: Entry, upcoming: LimitRecord, now: Now) -> bool:
    begun_unix_s, end_unix_s = state.calendar.begun.get(entry.key), upcoming.end_unix_s
    is_same = begun_unix_s == upcoming.start_unix_s
    return is_same and end_unix_s is not None and end_unix_s - now.unix_s <= CLOCK_BEHIND_S


def _is_past(record: LimitRecord, now: Now) -> bool:
    return record.end_unix_s is not None and record.end_unix_s <= now.unix_s


def _begin(state: State, record: LimitRecord, now: Now) -> None:
    if _is_past(record, now):
        budget_limits.drop(state, record, now)
        text = f"{record.domain}: {record.name} ended before it could begin"
        state.journal.note("limit_missed", text, now, level="warning")
        return
    if record.source == "schedule":
        state.calendar.begun[record.domain, record.name] = record.start_unix_s
    record = budget_limits.begin(state, record, now)
    text = f"{record.domain}: {_in_words(state, record)}"
    actor = record.requester if record.source == "event" else SCHEDULER
    state.journal.act("budget_lowered", text, now, actor=actor, level="warning")
    budget_limits.note_effects(
        state, record, f"budget of {record.domain} lowered by {record.name}", now
    )


def _in_words(state: State, record: LimitRecord) -> str:
    ramp = f" over {format_duration(record.ramp_s)}" if record.ramp_s else ""
    until = "" if record.end_unix_s is None else f" until {state.calendar.text(record.end_unix_s)}"
    why = f" ({record.why})" if record.why else ""
    return f"{record.name} limits the budget to {power_text(record.value_mw)}{ramp}{until}{why}"


def reconcile(state: State, now: Now) -> None:
    """Ends limits of windows that the site file has changed or removed, at a restart."""
    wanted = {entry.key: entry for entry in state.calendar.entries}
    for key, record in list(state.limits.items()):
        if record.source != "schedule" or _is_past(record, now):
            continue
        entry = wanted.get(key)
        upcoming = None if entry is None else state.calendar.upcoming(entry, now)
        if upcoming != msgspec.structs.replace(record, phase="planned", from_mw=None):
            budget_limits.drop(state, record, now)
            budget_limits.note_restored(state, record, SCHEDULER, "the site file has changed", now)
