"""What tasks report of their checkpoints: the newest is stored, trouble is an event."""

from wattline_protocol.ids import Now
from wattline_protocol.wire.agent_messages import TaskReport
from wattline_protocol.wire.task_reports.checkpoints import CheckpointTrouble, SavedCheckpoint
from wattline_scheduler.core.model.jobs.job import Attempt
from wattline_scheduler.core.model.state import State

STORE_S = 10.0
"""Minimum interval of storing newer checkpoints of one attempt; its end stores the newest."""

WARNED_FAILURES = 2
"""Failed saves in a row from which its job has a warning."""


def checkpoint_to_store(attempt: Attempt, report: TaskReport, now: Now) -> SavedCheckpoint | None:
    """Its newest checkpoint; of many in a row, which a task may invent, one now and then."""
    stored, newest = attempt.record.checkpoint, report.checkpoint
    if newest is None or newest == stored:
        return stored
    if now.mono_s - attempt.checkpoint_stored_at < STORE_S:
        return stored
    attempt.checkpoint_stored_at = now.mono_s
    return newest


def note_trouble(
    state: State, attempt: Attempt, before: TaskReport | None, report: TaskReport, now: Now
) -> None:
    """After the report before it; the first one after a restart repeats what was noted."""
    trouble, job = report.checkpoint_trouble, attempt.gang.job
    if trouble is not None and trouble.in_a_row >= WARNED_FAILURES:
        times = f"its newest {trouble.in_a_row} checkpoints were not saved"
        job.unsaved = (report.ref, f"{times}: {trouble.why}")
    elif job.unsaved is not None and job.unsaved[0] == report.ref:
        job.unsaved = None
    if trouble is not None and before is not None and trouble != before.checkpoint_trouble:
        text = f"{report.ref} on {attempt.node}: {_text(trouble)}"
        owner, node = job.record.owner, attempt.node
        state.journal.of_task(owner, trouble.what, text, now, job=job.id, node=node)


def _text(trouble: CheckpointTrouble) -> str:
    if trouble.what == "save_failed":
        return f"the checkpoint of step {trouble.step} was not saved: {trouble.why}"
    return f"the checkpoint of step {trouble.step} is passed over: {trouble.why}"
