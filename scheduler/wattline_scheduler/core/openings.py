"""When a job may start by the time of day, and whether it can still be done in time.

`windows.start_only` keeps a job, and each later try of it, from starting outside its weekly
windows; what runs goes on. `windows.deadline` is a matter of the queue, not a limit: what has not
started by then ends as TIMEOUT, what runs goes on. Before that a job says, as soon as it is known,
that it cannot be done in time: it may run as long as `limits.runtime` says, so it must start that
long before its deadline, in one of its windows, in its reservation, and not before quotas that are
used up begin anew. All of it follows the wall clock.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from wattline_protocol.ids import Instant, JobId, Now, UnixTime, UserName
from wattline_protocol.job import JobSpec
from wattline_protocol.quantities import format_duration
from wattline_scheduler.core.ending import end_gangs
from wattline_scheduler.core.jobs import Job, Paused, Pending
from wattline_scheduler.core.reservations import waits_for
from wattline_scheduler.core.state import State


def is_past(state: State, spec: JobSpec, now: Now) -> str:
    """Why nothing of a job starts any more; empty = its deadline is ahead, or it has none."""
    if not spec.windows.deadline:
        return ""
    deadline = state.calendar.moment(spec.windows.deadline)
    said = state.calendar.said(deadline)
    return f"its deadline, {said}, is past" if deadline <= now.unix_s else ""


class Earliest(NamedTuple):
    """When something of a job may start, if there is room for it then."""

    unix_s: float
    """Infinite: never."""
    why: str
    """What keeps it until then; empty = nothing does."""


def earliest(state: State, owner: UserName, spec: JobSpec, now: Now) -> Earliest:
    """By its reservation, by quotas that are used up for the day or month, and by its windows."""
    said, found = state.calendar.said, Earliest(now.unix_s, "")
    record = state.reservations.get(spec.reservation)
    if record is not None and record.start_unix_s > found.unix_s:
        begins = f"its reservation {record.name} begins {said(record.start_unix_s)}"
        found = Earliest(record.start_unix_s, begins)
    used_up = state.work.quotas.used_up(spec.account or owner, spec.queue)
    if used_up is not None and used_up.until_unix_s > found.unix_s:
        until = f"the quota of {used_up.name} is used up until {said(used_up.until_unix_s)}"
        found = Earliest(used_up.until_unix_s, until)
    opening = opens_from(state, spec, found.unix_s, now)
    if opening > found.unix_s:
        found = Earliest(opening, _and(found.why, f"its next window opens {said(opening)}"))
    if record is not None and found.unix_s >= record.end_unix_s:
        ends = f"its reservation {record.name} ends {said(record.end_unix_s)}"
        return Earliest(math.inf, _and(found.why, ends))
    return found


def _and(*parts: str) -> str:
    return ", and ".join(filter(None, parts))


def cannot_be_met(state: State, owner: UserName, spec: JobSpec, now: Now) -> str:
    """Why a job that has not started cannot be done by its deadline; empty = it may be."""
    past = is_past(state, spec, now)
    if past or not spec.windows.deadline:
        return past
    calendar, runtime_s = state.calendar, spec.limits.runtime_s
    deadline = calendar.moment(spec.windows.deadline)
    late = f"cannot be done by its deadline, {calendar.said(deadline)}"
    if deadline - runtime_s <= now.unix_s:
        starts_by = calendar.said(deadline - runtime_s)
        lasts = f"it may run {format_duration(runtime_s)}, so it had to start by {starts_by}"
        return f"{late}: {lasts}"
    start = earliest(state, owner, spec, now)
    if start.unix_s < deadline - runtime_s:
        return ""
    lasts = f"it may run {format_duration(runtime_s)}" if runtime_s else ""
    return f"{late}: {_and(start.why, lasts)}"


def too_late(state: State, spec: JobSpec, start_unix_s: float) -> str:
    """What becomes of its deadline if a job starts then; empty = it may be met."""
    runtime_s = spec.limits.runtime_s
    if not spec.windows.deadline:
        return ""
    deadline = state.calendar.moment(spec.windows.deadline)
    if start_unix_s + runtime_s <= deadline:
        return ""
    lasts = f", and it may run {format_duration(runtime_s)}" if runtime_s else ""
    return f"too late for its deadline, {state.calendar.said(deadline)}{lasts}"


def follow_promises(state: State, before: Iterable[JobId], now: Now) -> None:
    """Say at once of a job that is promised room too late for its deadline that it is.

    No more than that: it still has its room, for others may end sooner than they must.
    """
    for number in before:
        if number in state.work.jobs:
            state.work.jobs[number].at_risk = ""
    for number, start in state.promised.items():
        job = state.work.jobs[number]
        if math.isinf(start) or job.late:
            continue
        room_unix_s = now.unix_s + max(0.0, start - now.mono_s)
        start_unix_s = opens_from(state, job.spec, room_unix_s, now)
        late = too_late(state, job.spec, start_unix_s)
        if not late:
            continue
        said = state.calendar.said(start_unix_s)
        job.at_risk = f"may not start before {said}: {late}"
        _tell_risk(state, job, now)


def follow_pace(state: State, job: Job, now: Now) -> None:
    """Say at once of a job that runs that at its pace it will not be done by its deadline.

    Nobody knows when what is paused goes on: it is told by what it takes if that is now.
    """
    courses = ((gang.live[0].course, gang.phase) for gang in job.gangs if gang.live)
    ends = [
        (course.end_s, isinstance(phase, Paused))
        for course, phase in courses
        if course is not None and course.end_s is not None
    ]
    if not job.spec.windows.deadline or not ends:
        return
    deadline = state.calendar.moment(job.spec.windows.deadline)
    end_s, is_paused = max(ends)
    end_unix_s = now.unix_s + end_s - now.mono_s
    if end_unix_s <= deadline:
        job.at_risk = ""
        return
    said, by = state.calendar.said(end_unix_s), state.calendar.said(deadline)
    until = (
        f"even if it went on now it would run until {said}"
        if is_paused
        else f"it runs until {said}"
    )
    job.at_risk = f"going by how far it is, {until}: too late for its deadline, {by}"
    _tell_risk(state, job, now)


def _tell_risk(state: State, job: Job, now: Now) -> None:
    """Once, also over restarts."""
    if job.record.is_risk_told:
        return
    job.record = msgspec.structs.replace(job.record, is_risk_told=True)
    state.journal.save(job.record)
    text = f"{job.spec.name!r} {job.at_risk}"
    state.journal.note("deadline_at_risk", text, now, job=job.id, level="warning")


def opens(state: State, spec: JobSpec, now: Now) -> UnixTime:
    """When it may start; now, or later."""
    if not spec.windows.start_only:
        return now.unix_s
    opening = state.calendar.opening(spec.windows.start_only, now)
    return UnixTime(max(now.unix_s, opening.start_unix_s))


def opens_from(state: State, spec: JobSpec, unix_s: float, now: Now) -> UnixTime:
    """When it may start by its windows, if it could not before that time."""
    return opens(state, spec, Now(Instant(now.mono_s + unix_s - now.unix_s), UnixTime(unix_s)))


def closed(state: State, spec: JobSpec, now: Now) -> str:
    """Why nothing of it starts at this time of the week; empty = it may."""
    opening = opens(state, spec, now)
    if opening <= now.unix_s:
        return ""
    text = f"waits for its window, which opens {state.calendar.said(opening)}"
    record = state.reservations.get(spec.reservation)
    is_over = record is not None and opening >= record.end_unix_s
    return f"{text}, when its reservation {spec.reservation} is over" if is_over else text


def follow_clock(state: State, now: Now) -> None:
    """Look at the jobs for which the time of day has changed something."""
    for number in state.work.alarms.take_due(now.unix_s):
        job = state.work.jobs.get(number)
        if job is not None and not job.is_ended:
            _look(state, job, now)


def _look(state: State, job: Job, now: Now) -> None:
    job.closed = closed(state, job.spec, now)
    job.outside = waits_for(state, job.spec, now)
    job.late = ""
    if job.spec.windows.deadline:
        _follow_deadline(state, job, now)
    if job.is_ended:
        return
    state.work.requeue(job)
    state.wants_plan = state.wants_plan or not (job.closed or job.outside)
    next_look = _next_look(state, job, now)
    if next_look is not None:
        state.work.alarms.set(job.id, next_look)


def _follow_deadline(state: State, job: Job, now: Now) -> None:
    deadline = state.calendar.moment(job.spec.windows.deadline)
    said = state.calendar.said(deadline)
    waiting = [gang for gang in job.gangs if isinstance(gang.phase, Pending)]
    if deadline <= now.unix_s:
        job.late = f"its deadline, {said}, has passed"
        end_gangs(state, waiting, "timeout", f"not started by its deadline, {said}", now)
    elif waiting:
        job.late = cannot_be_met(state, job.record.owner, job.spec, now)
    if not job.late:
        follow_pace(state, job, now)  # a steady pace is told once, and this deadline may be another
    elif not job.is_ended:
        _tell_late(state, job, now)


def _tell_late(state: State, job: Job, now: Now) -> None:
    """Once, also over restarts."""
    if job.record.is_late:
        return
    job.record = msgspec.structs.replace(job.record, is_late=True)
    state.journal.save(job.record)
    text = f"{job.spec.name!r}: {job.late}"
    state.journal.note("deadline_missed", text, now, job=job.id, level="warning")


def _next_look(state: State, job: Job, now: Now) -> UnixTime | None:
    """When the time of day changes something for it; a try that ends is looked at by itself."""
    windows, calendar, times = job.spec.windows, state.calendar, list[UnixTime]()
    if windows.start_only:
        opening = calendar.opening(windows.start_only, now)
        times += [opening.start_unix_s, opening.end_unix_s]
    if windows.deadline:
        deadline = calendar.moment(windows.deadline)
        times += [UnixTime(deadline - job.spec.limits.runtime_s), deadline]
    if job.spec.reservation in state.reservations:
        record = state.reservations[job.spec.reservation]
        times += [record.start_unix_s, record.end_unix_s]
    return min((at for at in times if at > now.unix_s), default=None)
