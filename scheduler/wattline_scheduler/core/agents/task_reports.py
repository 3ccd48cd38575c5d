"""Task reports of agents: level-triggered. The same report twice changes nothing."""

import msgspec

from wattline_protocol.ids import Now, UnixTime
from wattline_protocol.views.site_views import JobState
from wattline_protocol.wire.agent_messages import TaskExit, TaskPhase, TaskReport
from wattline_scheduler.core.agents.checkpoint_reports import checkpoint_to_store, note_trouble
from wattline_scheduler.core.agents.store_behind import check_stray
from wattline_scheduler.core.emergency.notices import differs, notice_of
from wattline_scheduler.core.lifecycle.data.publishing import keeps_output
from wattline_scheduler.core.lifecycle.ending import FINAL, attempt_over, close, stop_kind
from wattline_scheduler.core.lifecycle.fair_share import note_end, within
from wattline_scheduler.core.lifecycle.hangs import is_hung, note_hang
from wattline_scheduler.core.lifecycle.isolation import has_lease, needs_lease
from wattline_scheduler.core.lifecycle.job_state import save_gang
from wattline_scheduler.core.lifecycle.restore_guard import drop_stray, drop_strays, note_stray
from wattline_scheduler.core.model import command_outbox
from wattline_scheduler.core.model.jobs.exit_reasons import describe_exit, meaning
from wattline_scheduler.core.model.jobs.job import Attempt, Ending, Gang, Paused, Running, Starting
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.problems import begin
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.model.usage.usage import add_usage, less, most

SHOWN_AS: dict[TaskPhase, JobState] = {
    "starting": "STARTING",
    "running": "RUNNING",
    "paused": "PAUSED",
    "stopping": "RUNNING",
}

UNKNOWN_END = TaskExit(kind="keeper_lost", detail="ended, cause unknown")

BEFORE_ANY_BEAT = -1

CERTAIN_BEATS = 3
"""Heartbeats that list an attempt after its reported end until it is stopped."""

LEFT_KIND = "processes_left"
MAX_LEFT = 16
"""Attempts of one node with an alarm each about what they left."""

MAX_STRAYS = 4 * command_outbox.MAX_OUTSTANDING
"""Outstanding commands of a node above which no command is issued for further strays: an agent that
invents attempts must not fill the scheduler's memory."""


def take_report(
    state: State, node: NodeNow, report: TaskReport, now: Now, *, is_listed: bool = False
) -> None:
    """Processes the current state of one attempt. `is_listed`: it comes from a new heartbeat."""
    attempt = node.attempts.get(report.ref)
    if attempt is None:
        _take_stray(state, node, report, now, is_listed=is_listed)
        return
    attempt.is_ordered = attempt.is_accepted = True
    if _is_news(attempt, report):
        phase, before = attempt.gang.phase, attempt.usage.run_s
        note_trouble(state, attempt, attempt.report, report, now)
        attempt.report = report
        is_timed_here = isinstance(phase, Running) and phase.ran_s is not None
        if not is_timed_here and attempt.usage.run_s != before:
            state.work.redescribe[attempt.node] = None
        _update_record(state, attempt, report, now)
    if report.phase == "ended":
        take_end(state, node, attempt, report.exit or UNKNOWN_END, now)
    else:
        _align(state, node, attempt, report.phase, now)


def _is_news(attempt: Attempt, report: TaskReport) -> bool:
    known = attempt.report
    return known is None or report.phase == "ended" or report.usage.run_s >= known.usage.run_s


def _update_record(state: State, attempt: Attempt, report: TaskReport, now: Now) -> None:
    """Saves changes except usage, which the agent retains until the end is recorded.

    A checkpoint is saved at once: what is done about a lost node depends on it.

    An attempt starts once: its first reported start holds, whatever the node's clock does later.
    """
    attempt.gang.has_saved |= report.checkpoint is not None
    old, reported_unix_s = attempt.record, report.started_unix_s
    if reported_unix_s is not None:
        reported_unix_s = within(reported_unix_s, old.placed_unix_s, now)
    new = msgspec.structs.replace(
        old,
        state=SHOWN_AS.get(report.phase, old.state),
        started_unix_s=old.started_unix_s or reported_unix_s,
        worker_public_key=report.worker_public_key or old.worker_public_key,
        pid=report.pid or old.pid,
        readopted=max(report.readopted, old.readopted),
        note=report.note or old.note,
        checkpoint=checkpoint_to_store(attempt, report, now),
        has_task_lease=has_lease(old, report),
    )
    if new != old:
        attempt.record = new
        state.journal.save(new)


def take_end(state: State, node: NodeNow, attempt: Attempt, end: TaskExit, now: Now) -> None:
    """Records the reported end of the attempt; then the agent may forget it."""
    gang = attempt.gang
    if not is_hung(gang):  # programs may leave places of a thousand ranks at every end
        end = msgspec.structs.replace(end, places=())
    outcome, cause = meaning(end, gang.job.spec.launch.how)
    close(state, attempt, _outcome(gang, outcome), now, end)
    if not keeps_output(attempt):
        command_outbox.order_forget(state, node, attempt.record.ref, now)
    if end.leftover_pids:
        _note_left(state, node, attempt, end, now)
    note_hang(state, gang, now)
    attempt_over(state, gang, cause, f"{describe_exit(end)} (on {node.id})", now)


def _note_left(state: State, node: NodeNow, attempt: Attempt, end: TaskExit, now: Now) -> None:
    """An alarm for each attempt, and one for all others of its node: an agent that invents them
    must leave place for the problems of the site."""
    ref, pids = attempt.record.ref, ", ".join(map(str, end.leftover_pids))
    kinds = [kind for kind, _ in state.problems.of_node.get(node.id, ())]
    subject = f"{node.id} {ref}" if kinds.count(LEFT_KIND) < MAX_LEFT else node.id
    text = f"{ref} left processes that could not be ended: {pids}"
    begin(state, LEFT_KIND, subject, text, now, job=attempt.gang.job.id, node=node.id)


def _outcome(gang: Gang, outcome: JobState) -> JobState:
    """Outcome of an attempt: a stopped one has not failed, a preempted one is not complete."""
    match gang.phase:
        case Ending(cause="preempted") if outcome != "TIMEOUT":
            return "PREEMPTED"
        case Ending(cause="failed") if is_hung(gang):
            return "FAILED"
        case Ending(cause="asked" | "resized") if (
            outcome == "COMPLETED"
        ):  # it saved and exited; it runs again
            return "CANCELLED"
        case Ending(cause=cause) if outcome in ("FAILED", "NODE_FAIL"):
            return FINAL.get(cause, "CANCELLED")
        case _:
            return outcome


def _align(state: State, node: NodeNow, attempt: Attempt, phase: TaskPhase, now: Now) -> None:
    """Compares the actual with the desired state, and issues the missing command."""
    gang, ref = attempt.gang, attempt.record.ref
    _align_limit(state, node, attempt, now)
    _align_notice(state, node, attempt, now)
    _align_lease(state, node, attempt, now)
    match gang.phase:
        case Starting(is_ordered=True):
            _note_running(state, gang, now)
        case Running(ran_s=None) if all(a.report is not None for a in gang.live):
            shifted_unix_s = UnixTime(now.unix_s - gang.ran_s)
            state.work.move(gang, Running(now.mono_s, gang.ran_s, shifted_unix_s), now)
        case Ending() if phase != "stopping":
            grace_s, what = gang.job.grace_s, stop_kind(state, gang)
            command_outbox.order_stop(state, node, ref, grace_s, gang.reason, now, what)
        case Paused(is_resuming=False) if phase == "running":
            kill_after_s = state.site.timing.emergency_grace_s
            command_outbox.order_pause(state, node, ref, kill_after_s, gang.reason, now)
        case Running() if phase == "paused" and not _is_changing(node, attempt):
            command_outbox.order_resume(state, node, ref, now)
        case _:
            pass


def _align_limit(state: State, node: NodeNow, attempt: Attempt, now: Now) -> None:
    """Sends the run time limit if the agent does not have the current one."""
    limit_s, report, ref = (
        attempt.gang.job.spec.limits.runtime_s,
        attempt.report,
        attempt.record.ref,
    )
    is_known = report is None or report.runtime_limit_s == limit_s
    if is_known or isinstance(attempt.gang.phase, Ending) or ("limit", ref) in node.outbox:
        return
    command_outbox.order_limit(state, node, ref, limit_s, now)


def _align_notice(state: State, node: NodeNow, attempt: Attempt, now: Now) -> None:
    """Sends what will interrupt a running attempt, or withdraws it, if the agent has another."""
    ref, report = attempt.record.ref, attempt.report
    is_running = node.takes_notices and isinstance(attempt.gang.phase, Running)
    if report is None or not is_running or ("notify", ref) in node.outbox:
        return
    wanted = notice_of(state, attempt.gang, now)
    if differs(report.notice, wanted, now):
        command_outbox.order_notify(state, node, ref, wanted, now)


def _align_lease(state: State, node: NodeNow, attempt: Attempt, now: Now) -> None:
    """Gives a running attempt a task lease once its gang can continue from a checkpoint."""
    is_running = isinstance(attempt.gang.phase, Running | Paused)
    if is_running and needs_lease(state, node, attempt):
        command_outbox.order_lease(state, node, attempt.record.ref, now)


def _is_changing(node: NodeNow, attempt: Attempt) -> bool:
    ref = attempt.record.ref
    return ("pause", ref) in node.outbox or ("resume", ref) in node.outbox


def _note_running(state: State, gang: Gang, now: Now) -> None:
    if all(a.report is not None and a.report.phase != "starting" for a in gang.live):
        state.work.move(gang, Running(now.mono_s, gang.ran_s), now)
        save_gang(state, gang, now)


def _take_stray(
    state: State, node: NodeNow, report: TaskReport, now: Now, *, is_listed: bool
) -> None:
    """Handles an attempt that should not exist: ended or lost by the records, or unrecorded."""
    known = _ended_attempt(state, node, report)
    if known is None:
        check_stray(state, node, report, now)
    is_full = len(node.outbox) >= MAX_STRAYS  # its next heartbeat reports it again
    if report.phase == "ended":
        if known is not None:
            _add_usage(state, known, report, now)
        if not is_full and not (known is not None and keeps_output(known)):
            command_outbox.order_forget(state, node, report.ref, now)
        drop_stray(state, node.id, report.ref, now)
        return
    if known is None or known.record.exit is None:
        note_stray(state, report.ref, node.id)
    elif not _contradicts_end(known, is_listed=is_listed):
        return
    if is_full or ("stop", report.ref) in node.outbox:
        return
    text = f"{report.ref} runs on {node.id} without a record: it is stopped"
    state.journal.note("stray_stopped", text, now, node=node.id, level="warning")
    command_outbox.order_stop(state, node, report.ref, 0.0, "this attempt is not on record", now)


def _contradicts_end(attempt: Attempt, *, is_listed: bool) -> bool:
    """Whether the agent lists an attempt whose end it reported: that was a lie, or it errs. One
    message may be older than the end."""
    attempt.listed_after_end += is_listed
    return attempt.listed_after_end >= CERTAIN_BEATS


def _ended_attempt(state: State, node: NodeNow, report: TaskReport) -> Attempt | None:
    """Its past attempt on this node; an agent cannot report attempts of other nodes."""
    job = state.work.jobs.get(report.ref.job)
    if job is None:
        return None
    number = report.ref.task // job.spec.gang_size
    if number >= len(job.gangs):
        return None
    gang = job.gangs[number]
    known = gang.past if gang.first_ended is None else (*gang.past, gang.first_ended)
    return next((a for a in known if a.record.ref == report.ref and a.node == node.id), None)


def _add_usage(state: State, attempt: Attempt, report: TaskReport, now: Now) -> None:
    """Adds the usage of a lost attempt that is reported after all; never below the recorded usage,
    since an agent whose disk was wiped knows less."""
    if attempt.record.exit is None:
        usage = most(report.usage, attempt.record.usage)
        job, more = attempt.gang.job, less(usage, attempt.record.usage)
        job.spent = add_usage((job.spent, more))
        note_end(state, attempt, more, now)
        state.journal.change(
            attempt,
            usage=usage,
            metrics=report.metrics,
            exit=report.exit,
            checkpoint=report.checkpoint or attempt.record.checkpoint,
        )


def reconcile(state: State, node: NodeNow, reports: tuple[TaskReport, ...], now: Now) -> None:
    """Takes the complete task list of a new incarnation: what it omits will never exist (I8)."""
    listed = {report.ref for report in reports}
    drop_strays(state, node.id, listed, now)
    for attempt in list(node.attempts.values()):
        attempt.beat_seq = BEFORE_ANY_BEAT if attempt.record.ref in listed else None
        if attempt.record.ref not in listed and attempt.is_ordered:
            lose(state, attempt, f"{node.id} no longer has it", now)
    for report in reports:
        take_report(state, node, report, now)


def take_digest(
    state: State, node: NodeNow, seq: int, reports: tuple[TaskReport, ...], now: Now
) -> None:
    """Takes the tasks of a heartbeat. An attempt listed once and missing later has been lost."""
    listed = {report.ref for report in reports}
    for attempt in list(node.attempts.values()):
        if attempt.record.ref in listed:
            attempt.beat_seq = seq
        elif attempt.beat_seq is not None and attempt.beat_seq < seq:
            lose(state, attempt, f"{node.id} no longer has it", now)
    drop_strays(state, node.id, listed, now)
    for report in reports:
        take_report(state, node, report, now, is_listed=True)


def lose(state: State, attempt: Attempt, reason: str, now: Now) -> None:
    """Closes an attempt that has certainly ended without a reported end (I7)."""
    if not attempt.is_live:
        return
    is_requeue = not attempt.is_accepted
    close(state, attempt, "CANCELLED" if is_requeue else "NODE_FAIL", now)
    attempt_over(state, attempt.gang, "requeued" if is_requeue else "lost", reason, now)
