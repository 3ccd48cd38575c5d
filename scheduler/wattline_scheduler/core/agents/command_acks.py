"""Acknowledgements of task commands: valid only for an outstanding command (I8)."""

from wattline_protocol.ids import Now
from wattline_protocol.wire.agent_messages import (
    CommandDone,
    ForgetTask,
    Lease,
    LeaseTask,
    LimitTask,
    NotifyTask,
    PauseTask,
    ResumeTask,
    StartTask,
    StopTask,
)
from wattline_protocol.wire.agents.data_messages import HoldData
from wattline_scheduler.core.lifecycle.ending import attempt_over, close
from wattline_scheduler.core.lifecycle.job_state import save_gang
from wattline_scheduler.core.model import command_outbox
from wattline_scheduler.core.model.jobs.job import Attempt, Paused, Running
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State

NO_ANSWER = (Lease, HoldData, ForgetTask, LimitTask, NotifyTask, LeaseTask, PauseTask)
"""Commands whose result changes nothing."""


def command_done(state: State, node: NodeNow, done: CommandDone, now: Now) -> None:
    """Handles the result of a task command."""
    answered = command_outbox.answered(node, done)
    if answered is None:
        return
    _, command = answered
    if isinstance(command, NO_ANSWER):
        return
    ref = command.order.ref if isinstance(command, StartTask) else command.ref
    attempt = node.attempts.get(ref)
    if attempt is None:
        return
    match command:
        case StartTask():
            _started(state, attempt, done, now)
        case StopTask():
            _stopped(state, attempt, done, now)
        case ResumeTask():
            _resumed(state, attempt, done, now)


def _started(state: State, attempt: Attempt, done: CommandDone, now: Now) -> None:
    if done.outcome == "done":
        attempt.is_accepted = True
        return
    gang = attempt.gang
    reason = f"{attempt.node} refused the start: {done.detail or done.outcome}"
    if done.outcome == "not_covered":
        reason = f"the lease of {attempt.node} did not cover it: {done.detail}"
    close(state, attempt, "CANCELLED", now)
    attempt_over(state, gang, "requeued", reason, now)


def _stopped(state: State, attempt: Attempt, done: CommandDone, now: Now) -> None:
    """done: its end will be reported. refused: it is not on the node, and never will be (I8)."""
    if done.outcome == "refused" and not attempt.is_accepted:
        close(state, attempt, "CANCELLED", now)
        attempt_over(state, attempt.gang, "requeued", done.detail, now)


def _resumed(state: State, attempt: Attempt, done: CommandDone, now: Now) -> None:
    gang = attempt.gang
    if done.outcome == "done" or not isinstance(gang.phase, Running):
        return
    gang.reason = f"the lease of {attempt.node} does not cover it: {done.detail}"
    state.work.move(gang, Paused(now.mono_s), now)
    save_gang(state, gang, now)
