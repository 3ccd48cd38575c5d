"""Ends of attempts, tries and gangs, and the decision whether another try follows."""

from collections.abc import Iterable

import msgspec

from wattline_protocol.ids import Instant, JobId, Now, UnixTime
from wattline_protocol.views.site_views import JobState
from wattline_protocol.wire.agent_messages import TaskExit
from wattline_protocol.wire.task_order import NoticeKind
from wattline_scheduler.core.admission.learned_demand import observe_holders
from wattline_scheduler.core.admission.quota_checks import discount
from wattline_scheduler.core.lifecycle.checkpoint_times import note_ended
from wattline_scheduler.core.lifecycle.fair_share import note_end, within
from wattline_scheduler.core.lifecycle.job_state import refresh, save_gang
from wattline_scheduler.core.lifecycle.notifications import notify
from wattline_scheduler.core.model import command_outbox
from wattline_scheduler.core.model.gpu_holders import release
from wattline_scheduler.core.model.jobs.exit_reasons import POINTLESS
from wattline_scheduler.core.model.jobs.job import (
    CRASHES_HELD,
    Attempt,
    Ended,
    Ending,
    Gang,
    Job,
    Pending,
    Publishing,
)
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.model.usage.usage import add_usage
from wattline_scheduler.records import Cause

FINAL: dict[Cause, JobState] = {
    "cancelled": "CANCELLED",
    "timeout": "TIMEOUT",
    "replaced": "COMPLETED",
    "rolled_back": "FAILED",
    "no_data": "FAILED",
}
"""Causes after which there is no further try, and the final state of the gang."""

BACKOFF_FIRST_S = 1.0
BACKOFF_MOST_S = 60.0
"""Back-off before the next try: doubled with every failure without a healthy run, up to this."""

LONGEST_BACKOFF_S = 300.0
"""The same for services, which have no limit of tries: at most 288 recorded tries a day."""

CRASH_RUN_S = 30.0
"""A try that fails sooner counts as a crash: it would fail again, whatever the reason."""

REQUEUE_MOST_S = 10.0
"""Longest back-off after a start that the node refused."""

MAX_REFUSALS = 100
"""Maximum number of refused starts in a row: a quarter of an hour of back-offs."""

MAX_LOSSES = 8
"""Maximum number of tries lost with their node: the gang may be what crashes the nodes."""

MAX_SHORT_FAILURES = 5
"""Failures in a row, each within `CRASH_RUN_S`, of which checkpoints may spare the back-off: a
checkpoint is what the job reports, its run time is not."""

HEALTHY_RUN_S = 60.0
"""A try that ran this long started well: the back-off is reset."""


def close(
    state: State, attempt: Attempt, outcome: JobState, now: Now, end: TaskExit | None = None
) -> None:
    """Records the end of an attempt and releases its resources."""
    ref = attempt.record.ref
    ended_unix_s = end.ended_unix_s if end is not None and end.ended_unix_s else now.unix_s
    began_unix_s = attempt.record.started_unix_s or attempt.record.placed_unix_s
    report = attempt.report
    state.journal.change(
        attempt,
        state=outcome,
        ended_unix_s=within(ended_unix_s, began_unix_s, now),
        usage=attempt.usage,
        metrics=report.metrics if report is not None else attempt.record.metrics,
        exit=end,
        checkpoint=attempt.checkpoint,
    )
    if attempt.gang.job.unsaved is not None and attempt.gang.job.unsaved[0] == ref:
        attempt.gang.job.unsaved = None
    del state.work.live[ref]
    attempt.gang.live.remove(attempt)
    attempt.gang.keep_ended(attempt)
    job = attempt.gang.job
    job.spent = add_usage((job.spent, attempt.record.usage))
    note_end(state, attempt, attempt.record.usage, now)
    note_ended(state, attempt.record)
    _free(state, attempt)
    observe_holders(state, attempt, now)
    note_drained(state, state.nodes[attempt.node], now)
    state.wants_plan = True


def _free(state: State, attempt: Attempt) -> None:
    node = state.nodes[attempt.node]
    ref, spec = attempt.record.ref, attempt.gang.job.shape
    del node.attempts[ref]
    release(node, attempt)
    discount(state, attempt)
    for gpu in attempt.record.gpus:
        # Its process tree may still be ending; the agent reports when it counts as idle again (I2).
        node.idle.discard(gpu)
    node.cpus_used -= spec.cpus
    node.memory_used_bytes -= spec.memory_bytes
    node.outdate()
    for verb in ("start", "stop", "pause", "resume", "limit", "notify", "task_lease"):
        command_outbox.drop(node, (verb, ref))


def note_drained(state: State, node: NodeNow, now: Now) -> None:
    """Reports that the last task has left a draining node."""
    record = node.record
    if not record.is_draining or node.attempts or record.drained_unix_s is not None:
        return
    node.record = msgspec.structs.replace(record, drained_unix_s=now.unix_s)
    state.journal.save(node.record)
    text = f"{node.id} is drained: its last task has ended ({record.drain_reason})"
    state.journal.note("node_drained", text, now, node=node.id)


def attempt_over(state: State, gang: Gang, cause: Cause, reason: str, now: Now) -> None:
    """Handles a closed attempt: stops the gang if it failed, settles it if this was the last."""
    if cause != "finished" and not isinstance(gang.phase, Ending):
        end_gang(state, gang, cause, reason, now)
    elif not gang.live:
        settle(state, gang, now)


def end_gang(
    state: State,
    gang: Gang,
    cause: Cause,
    reason: str,
    now: Now,
    *,
    grace_s: float | None = None,
) -> None:
    """Ends the current try: stops tasks that may be running, closes the others at once."""
    gang.reason = reason
    state.work.move(gang, Ending(now.mono_s, cause), now)
    grace_s = gang.job.grace_s if grace_s is None else grace_s
    what = stop_kind(state, gang)
    for attempt in list(gang.live):
        node = state.nodes[attempt.node]
        node.outdate_offer()  # its resources will soon be free
        if attempt.is_ordered:
            ref = attempt.record.ref
            command_outbox.order_stop(state, node, ref, grace_s, reason, now, what)
        else:
            close(state, attempt, "CANCELLED", now)
    if gang.live:
        save_gang(state, gang, now)
    else:
        settle(state, gang, now)


def stop_sooner(state: State, gang: Gang, now: Now) -> None:
    """Orders a stop that has begun again, with a grace that has become shorter: agents take the
    earlier kill."""
    if not isinstance(gang.phase, Ending):
        return
    what = stop_kind(state, gang)
    for attempt in gang.live:
        if attempt.is_ordered:
            ref, node = attempt.record.ref, state.nodes[attempt.node]
            command_outbox.drop(node, ("stop", ref))
            command_outbox.order_stop(state, node, ref, gang.job.grace_s, gang.reason, now, what)


def stop_kind(state: State, gang: Gang) -> NoticeKind:
    """What the tasks of an ending gang are notified of."""
    cause = gang.phase.cause if isinstance(gang.phase, Ending) else None
    if cause == "asked" and any(state.nodes[a.node].record.is_draining for a in gang.live):
        return "drain"
    kinds: dict[Cause | None, NoticeKind] = {
        "preempted": "preemption",
        "timeout": "limit",
        "resized": "resize",
    }
    return kinds.get(cause, "stop")


def ends_for_good(gang: Gang) -> bool:
    """Whether it has ended, or will with its current try."""
    phase = gang.phase
    return isinstance(phase, Ended) or (isinstance(phase, Ending) and phase.cause in FINAL)


def end_job(state: State, job: Job, cause: Cause, reason: str, now: Now) -> None:
    """Ends all open gangs of a job for a final cause."""
    end_gangs(state, job.gangs, cause, reason, now)


def end_gangs(state: State, gangs: Iterable[Gang], cause: Cause, reason: str, now: Now) -> None:
    """Ends gangs for a final cause: pending ones at once, running ones with grace.

    Their jobs are refreshed once: that may look at each of the gangs.
    """
    jobs: dict[JobId, Job] = {}
    for gang in gangs:
        match gang.phase:
            case Ended() | Ending(cause="cancelled"):
                continue
            case Ending() if gang.phase.cause == cause:
                continue
            case Pending() | Publishing():
                gang.reason = reason
                _finish(state, gang, FINAL[cause], now)
                jobs[gang.job.id] = gang.job
            case _:
                end_gang(state, gang, cause, reason, now)
    for job in jobs.values():
        refresh(state, job, now)


def settle(state: State, gang: Gang, now: Now) -> None:
    """Decides whether a gang without live attempts has ended or is tried again (I7)."""
    cause: Cause = gang.phase.cause if isinstance(gang.phase, Ending) else "finished"
    is_cancelled, is_service = bool(gang.job.record.cancelled_by), gang.job.spec.kind == "service"
    is_done = cause == "finished" and not is_cancelled and not is_service
    is_end = cause in ("finished", "failed")
    gang.job.at_risk = ""  # its pace was that of this try
    state.work.learn(gang, _longest_run_s(gang), is_end=is_end, is_done=is_done)
    if gang.job.record.cancelled_by:
        finish(state, gang, "CANCELLED", now)
    elif cause in FINAL:
        finish(state, gang, FINAL[cause], now)
    elif cause == "lost" and not (is_service and _never_ran(gang)):
        run_again(state, gang, now)
    elif cause in ("asked", "preempted", "resized"):
        _again(state, gang, 0.0, now)
    elif cause == "requeued":
        _requeued(state, gang, now)
    elif gang.job.spec.kind == "service":
        _restart_service(state, gang, now)
    elif cause == "failed":
        _failed(state, gang, now)
    elif gang.job.spec.data.has_output:
        _publish(state, gang, now)
    else:
        finish(state, gang, "COMPLETED", now)


def _publish(state: State, gang: Gang, now: Now) -> None:
    publisher = gang.publisher
    if publisher is None:
        gang.reason = "the attempt that has its output is not on record"
        run_again(state, gang, now)
        return
    node = state.nodes.get(publisher.node)
    if node is None:
        gang.reason = f"{publisher.node}, which has its output, has left the site"
        run_again(state, gang, now)
        return
    state.work.move(gang, Publishing(now.mono_s, node.record.boot_id), now)
    state.wants_staging = True
    save_gang(state, gang, now)


def finish(state: State, gang: Gang, outcome: JobState, now: Now) -> None:
    """Moves the gang to its final state."""
    _finish(state, gang, outcome, now)
    refresh(state, gang.job, now)


def _finish(state: State, gang: Gang, outcome: JobState, now: Now) -> None:
    if outcome == "COMPLETED":
        gang.reason = ""
    gang.job.held.discard(gang.number)
    gang.lacks_checkpoint = False
    _free_output(state, gang)
    state.work.move(gang, Ended(outcome), now)
    state.journal.save(gang.as_record())


def _requeued(state: State, gang: Gang, now: Now) -> None:
    if _longest_run_s(gang) >= CRASH_RUN_S:
        gang.refusals = 0
    gang.refusals += 1
    if gang.refusals > MAX_REFUSALS:
        gang.reason = f"start refused {gang.refusals} times in a row, last: {gang.reason}"
        finish(state, gang, "FAILED", now)
    else:
        _again(state, gang, min(gang.refusals * BACKOFF_FIRST_S, REQUEUE_MOST_S), now)


def run_again(state: State, gang: Gang, now: Now) -> None:
    """Queues a gang whose try was lost with its node, for `gang.reason`."""
    gang.losses += 1
    if gang.losses > MAX_LOSSES:
        gang.reason = f"node lost {gang.losses} times, last: {gang.reason}"
        finish(state, gang, "FAILED", now)
        return
    text = f"{gang.name} is requeued: {gang.reason}"
    notify(state, gang.job, "requeue", gang.reason, now)
    state.journal.note("gang_requeued", text, now, job=gang.job.id, level="warning")
    _again(state, gang, _backoff_s(gang, gang.losses), now)


def _failed(state: State, gang: Gang, now: Now) -> None:
    gang.failures += 1
    is_short = _longest_run_s(gang) < CRASH_RUN_S
    gang.short_failures = gang.short_failures + 1 if is_short else 0
    gang.crashes = gang.crashes + 1 if is_short and not _has_advanced(gang) else 0
    if gang.failures > gang.job.spec.recovery.retries or _is_pointless(gang):
        finish(state, gang, "FAILED", now)
    elif gang.crashes >= CRASHES_HELD:
        _hold(state, gang, now)
    else:
        least_s = _doubled(gang.short_failures - MAX_SHORT_FAILURES)
        _again(state, gang, max(least_s, _backoff_s(gang, gang.failures)), now)


def _hold(state: State, gang: Gang, now: Now) -> None:
    """Holds a gang in a crash loop for its user to examine."""
    gang.reason = (
        f"held: {gang.crashes} attempts in a row failed within {CRASH_RUN_S:.0f} s, "
        f"last: {gang.reason}; `wattline release` retries"
    )
    gang.job.held.add(gang.number)
    state.work.move(gang, Pending(now.mono_s), now)
    _report_hold(state, gang, now)


def hold_without_checkpoint(state: State, gang: Gang, why: str, now: Now) -> None:
    """Holds a pending gang whose newest checkpoint cannot be read any more, for its user to
    decide."""
    if gang.is_held:
        return
    without = f"`wattline requeue --from-scratch {gang.job.id}` starts it without"
    gang.reason = f"held: {why}; {without}, `wattline release` reads it again"
    gang.lacks_checkpoint = True
    state.work.hold(gang, now, is_held=True)
    _report_hold(state, gang, now)


def _report_hold(state: State, gang: Gang, now: Now) -> None:
    """Records a hold by the scheduler, and notifies the user of its reason."""
    notify(state, gang.job, "hold", gang.reason, now)
    text = f"{gang.name} is {gang.reason}"
    state.journal.note("gang_held", text, now, job=gang.job.id, level="warning")
    gang.job.wait_reason = ""
    save_gang(state, gang, now)


def _restart_service(state: State, gang: Gang, now: Now) -> None:
    if _longest_run_s(gang) >= HEALTHY_RUN_S:
        gang.failures = 0
    gang.failures += 1
    if _is_pointless(gang):
        finish(state, gang, "FAILED", now)
        return
    wait_s = _doubled(gang.failures, LONGEST_BACKOFF_S)
    why = gang.reason or "ended"
    text = f"{gang.name} is restarted in {wait_s:.0f} s: {why}"
    state.journal.note("service_restarted", text, now, job=gang.job.id, level="warning")
    _again(state, gang, wait_s, now)


def _free_output(state: State, gang: Gang) -> None:
    """Its node may keep another output."""
    state.wants_plan |= isinstance(gang.phase, Publishing)


def _again(state: State, gang: Gang, wait_s: float, now: Now) -> None:
    _free_output(state, gang)
    not_before = Instant(now.mono_s + wait_s)
    not_before_unix_s = UnixTime(now.unix_s + wait_s)
    state.work.move(gang, Pending(now.mono_s, not_before, not_before_unix_s), now)
    gang.job.wait_reason = ""
    save_gang(state, gang, now)


def _doubled(times: int, most_s: float = BACKOFF_MOST_S) -> float:
    """The back-off after so many failures; none after none."""
    return float(min(BACKOFF_FIRST_S * 2 ** min(times - 1, 16), most_s)) if times > 0 else 0.0


def _tried(gang: Gang) -> list[Attempt]:
    return [a for a in gang.past if a.record.attempt == gang.attempt]


def _is_pointless(gang: Gang) -> bool:
    return any(a.record.exit and a.record.exit.kind in POINTLESS for a in _tried(gang))


def _backoff_s(gang: Gang, times: int) -> float:
    """None after the first failure since a checkpoint: the next try begins there, and has not
    failed yet. `times`: failures, or losses, of a gang without one."""
    since = _failures_since_checkpoint(gang)
    if since == 1:
        return 0.0
    is_healthy = _longest_run_s(gang) >= HEALTHY_RUN_S
    return _doubled(1 if is_healthy else max(1, since - 1) if since else times)


def _never_ran(gang: Gang) -> bool:
    """Whether a host lacked what every start needs: the gang has crashed no node."""
    ends = ((a.record.exit, a.record.started_unix_s) for a in _tried(gang))
    return any(end is not None and end.kind == "keeper_lost" and not at for end, at in ends)


def _failures_since_checkpoint(gang: Gang) -> int:
    """Tries that failed or were lost since the one that published the checkpoint of the latest
    step, that one included; 0 = there is none."""
    tries, newest, latest = dict[int, bool](), 0, -1
    for one in gang.past:
        number, saved = one.record.attempt, one.checkpoint
        tries[number] = tries.get(number, False) or one.record.state in ("FAILED", "NODE_FAIL")
        if saved is not None and saved.step > latest:
            newest, latest = number, saved.step
    return sum(failed for number, failed in tries.items() if number >= newest) if newest else 0


def _has_advanced(gang: Gang) -> bool:
    """Whether its last try published a checkpoint of a later step than what it could resume from:
    the next one begins there. One that saves the same step again, and fails, gets nowhere."""
    saved = (a.checkpoint for a in _tried(gang))
    return any(one.step > gang.resumed_step for one in saved if one is not None)


def _longest_run_s(gang: Gang) -> float:
    return max((a.usage.run_s for a in _tried(gang)), default=0.0)
