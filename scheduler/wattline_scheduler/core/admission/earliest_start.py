"""Earliest start of a job regardless of free resources, and whether it can meet its deadline.

A job may run as long as `limits.runtime`, so it must start that long before its deadline, in one of
its windows, in its reservation, and not before its used-up quotas reset. All of this follows the
wall clock; `windows` evaluates waiting jobs when it changes.
"""

import math
from typing import NamedTuple

from wattline_protocol.ids import Instant, Now, UnixTime, UserName
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.text.quantities import format_duration
from wattline_scheduler.core.model.state import State


def is_past(state: State, spec: JobSpec, now: Now) -> str:
    """Reason if its deadline has passed; empty = it is ahead, or there is none."""
    if not spec.windows.deadline:
        return ""
    deadline = state.calendar.moment(spec.windows.deadline)
    at = state.calendar.text(deadline)
    return f"deadline has passed ({at})" if deadline <= now.unix_s else ""


class EarliestStart(NamedTuple):
    """Earliest time at which a gang of the job may start, resources permitting."""

    unix_s: float
    """Infinite = never."""
    why: str
    """What delays it until then; empty = nothing."""


def earliest(state: State, owner: UserName, spec: JobSpec, now: Now) -> EarliestStart:
    """Computes it from the reservation, the used-up daily and monthly quotas, and the windows."""
    at, found = state.calendar.text, EarliestStart(now.unix_s, "")
    record = state.reservations.get(spec.reservation)
    if record is not None and record.start_unix_s > found.unix_s:
        begins = f"its reservation {record.name} begins {at(record.start_unix_s)}"
        found = EarliestStart(record.start_unix_s, begins)
    used_up = state.work.quotas.used_up(spec.account or owner, spec.queue)
    if used_up is not None and used_up.until_unix_s > found.unix_s:
        until = f"the quota of {used_up.name} is used up until {at(used_up.until_unix_s)}"
        found = EarliestStart(used_up.until_unix_s, until)
    opening = opens_from(state, spec, found.unix_s, now)
    if opening > found.unix_s:
        found = EarliestStart(
            opening, _and(found.why, f"its next start window opens {at(opening)}")
        )
    if record is not None and found.unix_s >= record.end_unix_s:
        ends = "ended" if record.end_unix_s <= now.unix_s else "ends"
        ends = f"its reservation {record.name} {ends} {at(record.end_unix_s)}"
        return EarliestStart(math.inf, _and(found.why, ends))
    return found


def _and(*parts: str) -> str:
    return ", and ".join(filter(None, parts))


def cannot_be_met(state: State, owner: UserName, spec: JobSpec, now: Now) -> str:
    """Reason why a pending job cannot end by its deadline; empty = it may."""
    past = is_past(state, spec, now)
    if past or not spec.windows.deadline:
        return past
    calendar, runtime_s = state.calendar, spec.limits.runtime_s
    deadline = calendar.moment(spec.windows.deadline)
    late = f"cannot end by its deadline ({calendar.text(deadline)})"
    if deadline - runtime_s <= now.unix_s:
        starts_by = calendar.text(deadline - runtime_s)
        limit = format_duration(runtime_s)
        lasts = f"with its time limit of {limit} it had to start by {starts_by}"
        return f"{late}: {lasts}"
    start = earliest(state, owner, spec, now)
    if start.unix_s < deadline - runtime_s:
        return ""
    lasts = f"its time limit is {format_duration(runtime_s)}" if runtime_s else ""
    return f"{late}: {_and(start.why, lasts)}"


def too_late(state: State, spec: JobSpec, start_unix_s: float) -> str:
    """Reason why a job that starts then misses its deadline; empty = it may meet it."""
    runtime_s = spec.limits.runtime_s
    if not spec.windows.deadline:
        return ""
    deadline = state.calendar.moment(spec.windows.deadline)
    if start_unix_s + runtime_s <= deadline:
        return ""
    lasts = f", and its time limit is {format_duration(runtime_s)}" if runtime_s else ""
    return f"too late for its deadline ({state.calendar.text(deadline)}){lasts}"


def opens(state: State, spec: JobSpec, now: Now) -> UnixTime:
    """When one of its windows is open: now, or later."""
    if not spec.windows.start_only:
        return now.unix_s
    opening = state.calendar.opening(spec.windows.start_only, now)
    return UnixTime(max(now.unix_s, opening.start_unix_s))


def opens_from(state: State, spec: JobSpec, unix_s: float, now: Now) -> UnixTime:
    """When one of its windows is open, from that time on."""
    return opens(state, spec, Now(Instant(now.mono_s + unix_s - now.unix_s), UnixTime(unix_s)))


def closed(state: State, spec: JobSpec, now: Now) -> str:
    """Reason if none of its windows is open; empty = one is."""
    opening = opens(state, spec, now)
    if opening <= now.unix_s:
        return ""
    return f"waits for its start window, which opens {state.calendar.text(opening)}"
