"""Jobs that wait for others: `after_ok` and `after_any`.

A job can name only jobs that exist already, so nobody waits in a circle. Its parents are met one
by one as they end; one that ends otherwise than `after_ok` wants ends the job as CANCELLED, since
it would never start. A parent that is queued again has not ended. Ends are followed at the end of
the event that brought them, a bounded number at a time: a chain of any length needs no recursion.
"""

from collections.abc import Mapping

from wattline_protocol.ids import JobId, Now
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.views.site_views import JobState
from wattline_scheduler.core.lifecycle.ending import end_job
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.not_found import no_job
from wattline_scheduler.core.model.state import State

MAX_FOLLOWED = 1_000
"""Children told in one event, and of those that end with it their indices: a tenth of a second; of
an array that is larger two."""


def never(state: State, spec: JobSpec, ended: Mapping[JobId, JobState]) -> str:
    """Why a job would never start because of those it names; empty = it may.

    `ended`: how jobs ended that are not in memory any more.
    """
    for number in spec.parents:
        parent = state.work.jobs.get(number)
        outcome = _outcome(parent) if parent is not None else ended.get(number)
        if parent is None and outcome is None:
            there_is_none = no_job(number, state.next_job).reason
            return f"{there_is_none}; a job can wait only for jobs that exist"
        if number not in spec.after_ok:
            continue
        if outcome is not None and outcome != "COMPLETED":
            return _failed(number, outcome)
        if parent is not None and outcome is None and parent.spec.kind == "service":
            return f"job {number} is a service: it never succeeds, it runs until it is cancelled"
    return ""


def _outcome(job: Job) -> JobState | None:
    return job.record.state if job.is_ended else None


def _failed(number: JobId, outcome: JobState) -> str:
    return f"job {number} ended {outcome}, and this job was to start only after its success"


def wait_for_parents(state: State, job: Job) -> None:
    """A new or restored job waits for those of its parents that have not ended."""
    for number in job.spec.parents:
        parent = state.work.jobs.get(number)
        if parent is not None and not parent.is_ended:
            state.work.wait_for(job, parent)


def follow_restored(state: State, ended: Mapping[JobId, JobState], now: Now) -> None:
    """After a restart: who waits, and whose parent ended just before without it being followed."""
    for job in list(state.work.jobs.values()):
        if job.is_ended or not job.spec.parents or _is_tried(job):
            continue
        why = never(state, job.spec, ended)
        if why:
            end_job(state, job, "cancelled", why, now)
        else:
            wait_for_parents(state, job)
            state.work.requeue(job)


def _is_tried(job: Job) -> bool:
    """Its parents were met once; whatever is done to them later, it waits for them no more."""
    return any(gang.attempt for gang in job.gangs)


PARENTS_PER_INDEX = 10
"""A job that ends leaves the lists of its other parents: so many cost as much as an index."""


def follow_ends(state: State, now: Now) -> None:
    """Tell the children of jobs that have ended."""
    work, told = state.work, 0
    while work.over and told < MAX_FOLLOWED:
        parent = work.over[0]
        children = work.children.get(parent.id)
        if children is None:
            work.over.popleft()
        else:
            told += _met(state, next(iter(children.values())), parent, now)


def _met(state: State, job: Job, parent: Job, now: Now) -> int:
    """How much that was: itself, and all that ended of it."""
    state.work.wait_no_more(job, parent)
    outcome = parent.record.state
    if parent.id in job.spec.after_ok and outcome != "COMPLETED":
        end_job(state, job, "cancelled", _failed(parent.id, outcome), now)
        return len(job.gangs) + len(job.spec.parents) // PARENTS_PER_INDEX
    if not job.parents:
        state.work.requeue(job)
        state.wants_plan = True
    return 1
