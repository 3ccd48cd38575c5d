"""Job dependencies: `after_ok` and `after_any`.

A job can name only existing jobs, so that dependencies have no cycles. Each parent is met when it
ends; a parent that ends other than `after_ok` requires ends the job as CANCELLED, since it would
never start. A requeued parent has not ended. Ends are propagated at the end of the event that
caused them, a bounded number at a time: a chain of any length needs no recursion.
"""

from collections.abc import Mapping
from itertools import islice

from wattline_protocol.ids import JobId, Now
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.views.site_views import JobState
from wattline_scheduler.core.lifecycle.ending import end_job
from wattline_scheduler.core.lifecycle.job_state import respecify
from wattline_scheduler.core.model.data.data_book import may_read
from wattline_scheduler.core.model.data.job_data import with_made
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.not_found import no_job
from wattline_scheduler.core.model.state import State

MAX_PROPAGATED = 1_000
"""Children notified in one event, plus the indices of those that end with it: 0.1 s; for a larger
array 0.2 s."""


def never(state: State, spec: JobSpec, ended: Mapping[JobId, JobState]) -> str:
    """Reason why a job can never start because of its dependencies; empty = it can.

    `ended`: final states of jobs that are not in memory any more.
    """
    for number in spec.parents:
        parent = state.work.jobs.get(number)
        outcome = _outcome(parent) if parent is not None else ended.get(number)
        if parent is None and outcome is None:
            there_is_none = no_job(number, state.next_job).reason
            return f"{there_is_none}; a job can depend only on existing jobs"
        if number not in spec.after_ok:
            continue
        if outcome is not None and outcome != "COMPLETED":
            return _failed(number, outcome)
        if parent is not None and outcome is None and parent.spec.kind == "service":
            return f"job {number} is a service: it runs until it is cancelled and never succeeds"
    return ""


def _outcome(job: Job) -> JobState | None:
    return job.record.state if job.is_ended else None


def _failed(number: JobId, outcome: JobState) -> str:
    return f"job {number} ended {outcome}; this job requires its success (after_ok)"


def wait_for_parents(state: State, job: Job) -> None:
    """Adds the parents that have not ended to a new or restored job."""
    for number in job.spec.parents:
        parent = state.work.jobs.get(number)
        if parent is not None and not parent.is_ended:
            state.work.wait_for(job, parent)


def restore_dependencies(state: State, ended: Mapping[JobId, JobState], now: Now) -> None:
    """Restores dependencies at startup, and propagates ends that were not propagated before it."""
    for job in list(state.work.jobs.values()):
        if job.is_ended or not job.spec.parents or _is_tried(job):
            continue
        why = never(state, job.spec, ended)
        if why:
            end_job(state, job, "cancelled", why, now)
        else:
            for parent in filter(None, map(state.work.jobs.get, job.spec.after_ok)):
                if parent.is_ended:
                    _read_made(state, job, parent)
            wait_for_parents(state, job)
            state.work.requeue(job)


def _is_tried(job: Job) -> bool:
    """Its parents were met once; it never waits for them again."""
    return any(gang.attempt for gang in job.gangs)


PARENTS_PER_INDEX = 10
"""A job that ends leaves the lists of its other parents: this many cost as much as an index."""


def propagate_ends(state: State, now: Now) -> None:
    """Propagates the ends of jobs to their children."""
    work, handled = state.work, 0
    while work.over and handled < MAX_PROPAGATED:
        parent = work.over[0]
        children = work.children.get(parent.id)
        if children is None:
            work.over.popleft()
            continue
        # Read once: finding the first entry of a dict steps over all that were removed before it.
        for child in list(islice(children.values(), MAX_PROPAGATED - handled)):
            handled += _met(state, child, parent, now)
            if handled >= MAX_PROPAGATED:
                break


def _met(state: State, job: Job, parent: Job, now: Now) -> int:
    """Returns the cost in children: the job itself, and all of its indices that ended."""
    state.work.wait_no_more(job, parent)
    outcome = parent.record.state
    if parent.id in job.spec.after_ok and outcome != "COMPLETED":
        end_job(state, job, "cancelled", _failed(parent.id, outcome), now)
        return len(job.gangs) + len(job.spec.parents) // PARENTS_PER_INDEX
    _read_made(state, job, parent)
    if not job.parents:
        state.work.requeue(job)
        state.wants_plan = state.wants_staging = True
    return 1


def _read_made(state: State, job: Job, parent: Job) -> None:
    """A job behind one that made the latest version of a set reads that version."""
    made = parent.record.made
    if parent.id not in job.spec.after_ok or not made:
        return
    record = state.data.sets.get(made.partition("@")[0])
    if record is not None and may_read(record, job.record.owner, is_operator=False):
        respecify(state, job, with_made(job.spec, made))
