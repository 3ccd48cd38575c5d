"""Jobs that keep their checkpoints in the store: what is stored, and where a job may resume.

Without a `checkpoint_root` the directory of a job's checkpoints is that of one node, its home, on
which the first rank ran last. Another node can resume from what is on record in the store.
"""

from wattline_protocol.data.references import CHECKPOINTS_OF, checkpoint_set
from wattline_protocol.ids import JobId, NodeId, Now, UnixTime, UserName
from wattline_protocol.wire.agents.data_messages import CheckpointsToStore, TaskData
from wattline_protocol.wire.task_reports.checkpoints import StoredCheckpoint
from wattline_scheduler.core.model.data.store_access import store_access
from wattline_scheduler.core.model.jobs.job import Attempt, Gang, Job, Pending
from wattline_scheduler.core.model.jobs.resume import ANYWHERE, Resume
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.data_record import DataVersionRecord


def home_of(gang: Gang) -> Attempt | None:
    """The newest attempt of its first rank that has started."""
    first = (a for a in reversed(gang.attempts) if a.record.task == gang.task_no(0))
    return next((a for a in first if _has_started(a)), None)


def _has_started(attempt: Attempt) -> bool:
    reported = attempt.report.started_unix_s if attempt.report is not None else None
    return reported is not None or attempt.record.started_unix_s is not None


def resume_of(state: State, job: Job, now: Now) -> Resume:
    """From where its next attempt continues."""
    if not job.spec.data.outputs or state.site.checkpoint_root:
        return ANYWHERE
    gang = job.gangs[0]
    home, stored = home_of(gang), gang.stored
    node = None if home is None else state.nodes.get(home.node)
    if home is None or node is None or is_lost(state, node, now):
        return Resume(stored=stored)
    tries = [a for a in gang.attempts if a.node == node.id and a.checkpoint is not None]
    saved_by = max((a.record.attempt for a in tries), default=0)
    if not saved_by or (stored is not None and stored.saved_by > saved_by):
        return Resume(stored=stored)  # it has none, or older ones
    is_bound = not (job.spec.recovery.from_scratch or is_stored(node, job.id, home))
    return Resume(node.id, is_bound, stored)


def may_resume_on(node: NodeNow, resume: Resume) -> bool:
    """Whether a job may start there now."""
    wanted = resume.fetched_by(node.id)
    if resume.is_bound and node.id != resume.home:
        return False
    return wanted is None or node.data.is_ready(wanted.sha256)


def waits_for_checkpoint(gang: Gang) -> bool:
    """Whether a pending gang waits for what it would resume from, or is held without it."""
    if gang.lacks_checkpoint or not isinstance(gang.phase, Pending):
        return gang.lacks_checkpoint
    resume = gang.resume
    return bool(gang.job.unstaged) and (resume.is_bound or _is_fetched(resume))


def _is_fetched(resume: Resume) -> bool:
    return resume.stored is not None and not resume.home


def give_up_checkpoint(gang: Gang) -> None:
    """A gang that waits for a checkpoint starts without it. What its home has is still there."""
    if gang.lacks_checkpoint or _is_fetched(gang.resume):
        gang.stored = None
    gang.lacks_checkpoint = False


def is_lost(state: State, node: NodeNow, now: Now) -> bool:
    """Whether nothing is to be expected of a node. One that has not connected yet, after a restart
    of the scheduler, may have what is not stored."""
    if node.record.is_off or node.record.is_quarantined:
        return True
    return not node.is_reachable and now.mono_s - node.answered_at > state.site.timing.task_lease_s


def is_stored(node: NodeNow, job: JobId, home: Attempt) -> bool:
    """Whether a node has copied all that its ended attempt has left."""
    report = node.data.stored.get(job)
    return report is not None and report.is_last and report.attempt == home.record.attempt


def resume_version(job: Job, stored: StoredCheckpoint) -> DataVersionRecord:
    """A stored checkpoint in the form of a version, for caches of nodes."""
    return DataVersionRecord(
        name=checkpoint_set(job.id),
        number=stored.step,
        sha256=stored.sha256,
        files=1,
        bytes=stored.bytes,
        stored_bytes=0,
        created_unix_s=stored.unix_s,
        created_by=job.record.owner,
        state="published",
    )


def resume_data(gang: Gang, node: NodeId) -> tuple[TaskData, ...]:
    """What an attempt on a node reads besides the versions of its job."""
    wanted = gang.resume.fetched_by(node)
    if wanted is None:
        return ()
    name = checkpoint_set(gang.job.id)
    return (TaskData(name, wanted.step, wanted.sha256, is_checkpoint=True),)


def job_of_checkpoints(name: str) -> JobId:
    """The inverse of `checkpoint_set`."""
    return JobId(int(name.removeprefix(CHECKPOINTS_OF)))


def prefix_of(owner: UserName, job: JobId) -> str:
    """Of the keys of a job's checkpoints in the store."""
    return f"checkpoints/{owner}/{job}"


def part_of(store: str, owner: UserName, job: JobId, stored: StoredCheckpoint) -> str:
    """URL of the part of the store in which a copy lies."""
    return f"{store}/{prefix_of(owner, job)}/{stored.stored_by}"


def to_store(state: State, job: Job, home: Attempt) -> CheckpointsToStore:
    """What the home of a job copies."""
    owner, gang = job.record.owner, home.gang
    saved = [a.record.checkpoint for a in gang.attempts if a.node == home.node]
    return CheckpointsToStore(
        job=job.id,
        attempt=home.record.attempt,
        prefix=prefix_of(owner, job.id),
        root=state.site.checkpoint_root,
        saved_unix_s=max((one.unix_s for one in saved if one is not None), default=UnixTime(0.0)),
        is_last=not home.is_live,
        recorded=gang.stored,
        **store_access(state, state.site.data.store, owner, job.spec.data.store_secret),
    )
