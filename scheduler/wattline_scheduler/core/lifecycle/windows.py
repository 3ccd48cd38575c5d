"""Wall-clock rules of pending jobs: windows, deadlines, reservations.

`windows.start_only` bars a job, and each later try of it, from starting outside its weekly windows.
`windows.deadline` applies to the queue only: gangs that have not started by then end as TIMEOUT.
Neither affects running gangs. A job reports as soon as it is known that it cannot meet its
deadline, or never starts in its reservation. Its earliest start: `earliest_start`.
"""

import math
from collections.abc import Iterable

from wattline_protocol.ids import JobId, Now, UnixTime
from wattline_scheduler.core.admission.earliest_start import (
    cannot_be_met,
    closed,
    opens_from,
    too_late,
)
from wattline_scheduler.core.admission.reservation_fit import never_inside
from wattline_scheduler.core.admission.reservations import waits_for
from wattline_scheduler.core.lifecycle.ending import end_gangs
from wattline_scheduler.core.model.jobs.job import Job, Paused, Pending
from wattline_scheduler.core.model.state import State

MAX_GANGS_EVALUATED = 5_000
"""Gangs per event: a deadline ends all indices of many arrays at once, 20 µs each."""

EVALUATION_AS_GANGS = 10
"""Fixed cost of a job, in indices."""


def check_promises(state: State, before: Iterable[JobId], now: Now) -> None:
    """Reports that the promised start of a job is too late for its deadline.

    The promise stays: other gangs may end earlier than their limits.
    """
    for number in before:
        if number in state.work.jobs:
            state.work.jobs[number].at_risk = ""
    for number, start in state.promised.items():
        job = state.work.jobs[number]
        if math.isinf(start) or job.late:
            continue
        free_unix_s = now.unix_s + max(0.0, start - now.mono_s)
        start_unix_s = opens_from(state, job.spec, free_unix_s, now)
        late = too_late(state, job.spec, start_unix_s)
        if not late:
            continue
        at = state.calendar.text(start_unix_s)
        job.at_risk = f"is not expected to start before {at}: {late}"
        _report_risk(state, job, now)


def check_pace(state: State, job: Job, now: Now) -> None:
    """Reports that a running job will not meet its deadline at its pace.

    The resume time of a paused gang is unknown: its estimate assumes that it resumes now.
    """
    courses = ((gang.live[0].course, gang.phase) for gang in job.tried_gangs if gang.live)
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
    at, by = state.calendar.text(end_unix_s), state.calendar.text(deadline)
    until = (
        f"it would run until {at} even if resumed now" if is_paused else f"it will run until {at}"
    )
    job.at_risk = f"by its reported progress {until}: too late for its deadline ({by})"
    _report_risk(state, job, now)


def _report_risk(state: State, job: Job, now: Now) -> None:
    """Reported once, also across restarts."""
    if job.record.is_risk_reported:
        return
    state.journal.change(job, is_risk_reported=True)
    text = f"{job.spec.name!r} {job.at_risk}"
    state.journal.note("deadline_at_risk", text, now, job=job.id, level="warning")


def tick_clock(state: State, now: Now) -> bool:
    """Evaluates the jobs whose alarms are due.

    False: some were left for the next event; until then nothing may be planned.
    """
    evaluated = 0
    for number in state.work.timers.take_due(now.unix_s):
        job = state.work.jobs.get(number)
        if job is None or job.is_ended:
            continue
        before, evaluated = evaluated, evaluated + EVALUATION_AS_GANGS + len(job.gangs)
        if before and evaluated > MAX_GANGS_EVALUATED:
            state.work.timers.set(number, now.unix_s)
            return False
        _evaluate(state, job, now)
    return True


def _evaluate(state: State, job: Job, now: Now) -> None:
    note_gates(state, job, now)
    job.late = ""
    if job.spec.windows.deadline:
        _check_deadline(state, job, now)
    if job.is_ended:
        return
    state.work.requeue(job)
    state.wants_plan = state.wants_plan or not (job.closed or job.outside)
    next_change = _next_change(state, job, now)
    if next_change is not None:
        state.work.timers.set(job.id, next_change)


def note_gates(state: State, job: Job, now: Now) -> None:
    """Notes whether its windows or its reservation bar a job from starting now."""
    never = never_inside(state, job.record.owner, job.spec, now)
    job.outside = never or waits_for(state, job.spec, now)
    job.closed = "" if never else closed(state, job.spec, now)


def _check_deadline(state: State, job: Job, now: Now) -> None:
    deadline = state.calendar.moment(job.spec.windows.deadline)
    at = state.calendar.text(deadline)
    waiting = [gang for gang in job.gangs if isinstance(gang.phase, Pending)]
    if deadline <= now.unix_s:
        job.late = f"its deadline ({at}) has passed"
        end_gangs(state, waiting, "timeout", f"not started by its deadline ({at})", now)
    elif waiting:
        job.late = cannot_be_met(state, job.record.owner, job.spec, now)
    if not job.late:
        check_pace(state, job, now)  # a pace is reported once; the deadline may be new
    elif not job.is_ended:
        _report_late(state, job, now)


def _report_late(state: State, job: Job, now: Now) -> None:
    """Reported once, also across restarts."""
    if job.record.is_late:
        return
    state.journal.change(job, is_late=True)
    text = f"{job.spec.name!r}: {job.late}"
    state.journal.note("deadline_missed", text, now, job=job.id, level="warning")


def _next_change(state: State, job: Job, now: Now) -> UnixTime | None:
    """The next time at which the clock changes something for it, apart from ends of tries."""
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
