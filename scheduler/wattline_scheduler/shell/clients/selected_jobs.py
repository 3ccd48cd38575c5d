"""Looks up which jobs an act selects by names and by a condition (`--where`).

A condition is checked twice: in parts, while jobs change, until enough jobs met it; then of these
again, in the turn in which the act is done. So no act changes a job that no longer meets it.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from wattline_protocol.ids import JobId, Now
from wattline_protocol.job.selection import problem
from wattline_protocol.wire.client_messages import Denied, OnJobs
from wattline_scheduler.core.model.events import ClientRequest, MeetingJobs
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.bulk_actions import MAX_TASKS, targets_of
from wattline_scheduler.shell.clients.long_lists import ShowJob, matching
from wattline_scheduler.time_slices import Parts

MOST_JOBS = 100
"""Jobs that one request acts on. The client repeats it, after these, while some are left."""


def looked_up(
    state: State, event: ClientRequest, request: OnJobs, show_job: ShowJob, clock: Callable[[], Now]
) -> Parts[ClientRequest]:
    """The event with what is selected, to be handled at once."""
    which = request.which
    if problem(which):
        return event
    if which.names:
        jobs = list(state.work.jobs.values())
        event = replace(event, names=(yield from matching(jobs, which.names)))
    if which.where:
        event = yield from _with_meeting(state, event, request, show_job, clock)
    return event


def _with_meeting(
    state: State, event: ClientRequest, request: OnJobs, show_job: ShowJob, clock: Callable[[], Now]
) -> Parts[ClientRequest]:
    selected, at = _selected(state, event, request, state.work.jobs), 0
    while True:
        found, gangs = list[JobId](), 0
        where = request.which.condition(clock().unix_s)
        while at < len(selected) and len(found) < MOST_JOBS and gangs < MAX_TASKS:
            job = selected[at]
            has_left = state.work.jobs.get(job.id) is not job  # it left memory meanwhile
            if where is not None and not has_left and where.matches(show_job(job)):
                found.append(job.id)
                gangs += len(job.gangs)
            at += 1
            yield
        where = request.which.condition(clock().unix_s)
        still = _selected(state, event, request, found)
        meeting = {job.id for job in still if where is not None and where.matches(show_job(job))}
        if meeting or at == len(selected):
            break
        yield
    checked_to = found[-1] if found else request.after
    later = (job.id for job in selected[at:])
    return replace(event, meeting=MeetingJobs(frozenset([*meeting, *later]), checked_to))


def _selected(
    state: State, event: ClientRequest, request: OnJobs, among: Iterable[JobId]
) -> list[Job]:
    """Jobs by number, as all else selects them; none where the selection is refused."""
    some = MeetingJobs(frozenset(among), request.after)
    selected = targets_of(state, replace(event, meeting=some), request)
    if isinstance(selected, Denied):
        return []
    jobs = (target.job for target in selected if target.number > request.after)
    return [job for job in jobs if job is not None]
