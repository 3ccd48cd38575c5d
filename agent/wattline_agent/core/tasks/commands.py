"""Commands about tasks: executed once, answered as often as they are repeated (I2, I7, I8).

A start is checked twice: when it is ordered (does the newest lease cover it at its floor, are its
GPUs free?), whereupon its GPUs count as busy and caps are lowered to provide headroom; and again
when these caps have been read back. Only then is it launched.
"""

from dataclasses import replace
from typing import assert_never

import msgspec

from wattline_agent.core.effects import (
    Drop,
    GrantTaskLease,
    Kill,
    Launch,
    Limit,
    Notify,
    SaveUsage,
    Stop,
    Thaw,
)
from wattline_agent.core.model import NodeState
from wattline_agent.core.power import foreign_processes, held_watts
from wattline_agent.core.power.gpus import begin_use
from wattline_agent.core.tasks.attempt import (
    Attempt,
    Ended,
    Launched,
    Observed,
    Pausing,
    Reserved,
    Resuming,
)
from wattline_agent.core.tasks.attempts import answer, notify_stop, report_changes
from wattline_agent.core.tasks.start_checks import (
    MAX_ATTEMPTS,
    context,
    leased_until_s,
    refusal,
    shortage,
)
from wattline_agent.core.tasks.usage import snapshot
from wattline_protocol.ids import Now, UnixTime
from wattline_protocol.wire.agent_messages import (
    ForgetTask,
    LeaseTask,
    LimitTask,
    NotifyTask,
    PauseTask,
    ResumeTask,
    StartTask,
    StopTask,
    TaskExit,
)
from wattline_protocol.wire.task_order import Notice, TaskOrder

NOTICE_S = 0.5
"""Time between the notice of an emergency pause and the freeze; at most 1 s (I4)."""
WAIT_FOR_CAPS_S = 3.0
"""A start or resumption whose caps are not in force by then is given up."""
TaskCommand = (
    StartTask | StopTask | PauseTask | ResumeTask | LimitTask | NotifyTask | LeaseTask | ForgetTask
)


def obey(state: NodeState, command: TaskCommand, now: Now) -> None:
    """Execute a command of this incarnation. A repeat is answered as before and does nothing."""
    before = state.answers.get(command.seq)
    if before is not None:
        answer(state, before.seq, before.outcome, before.detail)
        return
    if state.answers.is_too_old(command.seq):
        answer(state, command.seq, "refused", "older than all commands on record here")
        return
    match command:
        case StartTask():
            _start(state, command, now)
        case StopTask():
            _stop(state, command, now)
        case PauseTask():
            _pause(state, command, now)
        case ResumeTask():
            _resume(state, command, now)
        case LimitTask():
            _limit(state, command)
        case NotifyTask():
            _notify(state, command, now)
        case LeaseTask():
            _lease(state, command, now)
        case ForgetTask():
            _forget(state, command)
        case _:
            assert_never(command)


# --- start ------------------------------------------------------------------------------


def _start(state: NodeState, command: StartTask, now: Now) -> None:
    order = command.order
    known = state.attempts.get(order.ref)
    if known is not None:
        _start_again(state, known, command)
        return
    why_not = refusal(state, command, now)
    if why_not:
        answer(state, command.seq, "refused", why_not)
        return
    short = shortage(state, order.gpus)
    if short:
        answer(state, command.seq, "not_covered", short)
        return
    state.attempts[order.ref] = Attempt(order, Reserved(command.seq, now.mono_s))


def _start_again(state: NodeState, known: Attempt, command: StartTask) -> None:
    match known.standing:
        case Reserved():
            known.standing = replace(known.standing, seq=max(command.seq, known.standing.seq))
        case Ended():
            answer(state, command.seq, "refused", "stopped before it was started")
        case Launched() | Observed():
            answer(state, command.seq, "done", "already started before")
        case _:
            assert_never(known.standing)


def start_waiting(state: NodeState, now: Now) -> bool:
    """Launch or thaw all attempts that waited for caps, now that their caps are in force.

    True when something was done. Called by `steer` only without an outstanding driver request.
    """
    if _refuse_beside_foreign(state, now):
        return True
    waiting = [a for a in state.attempts.values() if a.will_load_gpus]
    if not waiting:
        return False
    in_force = state.lease
    if in_force is None or held_watts.holding_mw(state) > in_force.lease_mw:
        return False
    for attempt in waiting:  # the watts held count all of them
        _begin(state, attempt, now)
    state.emit(SaveUsage(snapshot(state)))
    return True


def _refuse_beside_foreign(state: NodeState, now: Now) -> bool:
    """Refuse starts whose GPUs are in foreign use since they were ordered: normal, they are planned
    again elsewhere. A beat accompanies the answer, so that no other is ordered here."""
    reserved = [a for a in state.attempts.values() if isinstance(a.standing, Reserved)]
    refused = False
    for attempt in reserved:
        used = [gpu for gpu in held_watts.gpus_of(state, attempt) if gpu.foreign]
        if used and isinstance(attempt.standing, Reserved):
            del state.attempts[attempt.ref]
            answer(state, attempt.standing.seq, "refused", foreign_processes.why_not_given(used[0]))
            state.beat_wanted_s, refused = now.mono_s, True
    return refused


def expire_waiting(state: NodeState, now: Now) -> None:
    """Refuse starts and resumptions that have waited for their caps for too long."""
    for attempt in [a for a in state.attempts.values() if a.will_load_gpus]:
        if now.mono_s - waits_since(attempt) >= WAIT_FOR_CAPS_S:
            _give_up(state, attempt)


def waits_since(attempt: Attempt) -> float:
    """Since when a start or resumption waits for its caps."""
    if isinstance(attempt.standing, Reserved):
        return attempt.standing.since_s
    return attempt.resuming.since_s if attempt.resuming is not None else 0.0


def _begin(state: NodeState, attempt: Attempt, now: Now) -> None:
    for gpu in held_watts.gpus_of(state, attempt):
        begin_use(gpu)
    if isinstance(attempt.standing, Reserved):
        seq = attempt.standing.seq
        attempt.standing, attempt.launched_s = Launched(), now.mono_s
        state.emit(Launch(attempt.order, context(state, attempt.order)))
        answer(state, seq, "done")
        return
    assert attempt.resuming is not None, "only starts and resumptions wait"  # noqa: S101 - union
    assert isinstance(attempt.standing, Observed), "only what is frozen resumes"  # noqa: S101 - union
    seq, attempt.resuming = attempt.resuming.seq, None
    # Counts as running from here on, whatever an older list of the keeper shows.
    attempt.standing = Observed(replace(attempt.standing.seen, phase="running"))
    state.emit(Thaw(attempt.ref))
    answer(state, seq, "done")
    report_changes(state, now)


def _give_up(state: NodeState, attempt: Attempt) -> None:
    why = "its caps could not be enforced"
    if isinstance(attempt.standing, Reserved):
        del state.attempts[attempt.ref]
        answer(state, attempt.standing.seq, "not_covered", why)
    elif attempt.resuming is not None:
        seq, attempt.resuming = attempt.resuming.seq, None
        answer(state, seq, "not_covered", why)


# --- stop, pause, resume, forget --------------------------------------------------------


def _stop(state: NodeState, command: StopTask, now: Now) -> None:
    attempt = state.attempts.get(command.ref)
    if attempt is None:
        _stop_unknown(state, command, now)
    elif isinstance(attempt.standing, Reserved):
        answer(state, attempt.standing.seq, "refused", "stopped before it was started")
        attempt.standing = Ended(_never_started(command, now))
        report_changes(state, now)
    elif not attempt.is_ended and not attempt.condemned:  # killed for a more specific reason
        attempt.is_stopping = True
        if attempt.is_frozen or attempt.pausing is not None:
            # An orderly stop would let it run, on watts without a lease.
            state.emit(Kill(attempt.ref, "signaled", f"{command.why} (while paused)"))
        else:
            notify_stop(state, attempt, command.what, command.grace_s, command.why, now)
            state.emit(Stop(attempt.ref, command.grace_s, command.why))
    answer(state, command.seq, "done")


def _stop_unknown(state: NodeState, command: StopTask, now: Now) -> None:
    """The stop overtook its start, or the disk was lost: reported as ended, and never starts."""
    if command.ref in state.closed or len(state.attempts) >= MAX_ATTEMPTS:
        return
    state.closed.put(command.ref, command.seq)
    order = TaskOrder(command.ref, "", "", "batch", (), {}, (), "process")
    state.attempts[command.ref] = Attempt(order, Ended(_never_started(command, now)))
    report_changes(state, now)


def _never_started(command: StopTask, now: Now) -> TaskExit:
    return TaskExit(
        "not_startable",
        detail=f"not running here when its stop arrived: {command.why}",
        ended_unix_s=now.unix_s,
    )


def _pause(state: NodeState, command: PauseTask, now: Now) -> None:
    attempt = state.attempts.get(command.ref)
    if attempt is None or attempt.is_ended:
        answer(state, command.seq, "done", "not running here")
        return
    if isinstance(attempt.standing, Reserved):
        del state.attempts[command.ref]
        answer(state, attempt.standing.seq, "not_covered", "paused before it was started")
        answer(state, command.seq, "done", "not started")
        return
    if attempt.resuming is not None:
        answer(state, attempt.resuming.seq, "not_covered", "paused again")
        attempt.resuming = None
    notice_s = min(NOTICE_S, command.kill_after_s)
    pausing = Pausing(
        command.seq, now.mono_s + notice_s, now.mono_s + command.kill_after_s, command.why
    )
    under_way = attempt.pausing
    if under_way is not None and not attempt.is_frozen:
        kill_at_s = min(pausing.kill_at_s, under_way.kill_at_s)
        attempt.pausing = replace(under_way, seq=command.seq, kill_at_s=kill_at_s)
        return
    attempt.pausing = pausing
    if not attempt.is_frozen:
        frozen_unix_s = UnixTime(now.unix_s + notice_s)
        state.emit(Notify(attempt.ref, Notice("pause", frozen_unix_s, command.why)))


def _resume(state: NodeState, command: ResumeTask, now: Now) -> None:
    attempt = state.attempts.get(command.ref)
    if attempt is None or attempt.is_ended:
        answer(state, command.seq, "done", "not running here")
        return
    if attempt.condemned:
        return  # it is being killed, and its end answers this
    if not attempt.is_frozen and attempt.pausing is None:
        answer(state, command.seq, "done", "not paused")
        return
    if not attempt.is_frozen and attempt.pausing is not None and attempt.pausing.is_freezing:
        return  # half frozen: answered when the command is repeated and the freeze is done
    short = shortage(state, attempt.gpus)
    if short:
        answer(state, command.seq, "not_covered", short)
    elif attempt.is_frozen:
        attempt.pausing = None
        attempt.resuming = Resuming(command.seq, now.mono_s)
    else:
        attempt.pausing = attempt.notice = None
        state.emit(Notify(attempt.ref, None))
        answer(state, command.seq, "done", "not frozen yet")


def _limit(state: NodeState, command: LimitTask) -> None:
    attempt = state.attempts.get(command.ref)
    if attempt is None or attempt.is_ended or attempt.is_stopping:
        answer(state, command.seq, "done", "not running here, or being stopped")
        return
    limit_s = command.runtime_limit_s
    attempt.order = msgspec.structs.replace(attempt.order, runtime_limit_s=limit_s)
    if attempt.is_alive:
        state.emit(Limit(command.ref, limit_s))
    answer(state, command.seq, "done")


def _notify(state: NodeState, command: NotifyTask, now: Now) -> None:
    """The file has the node's own time. A pause or stop under way has a notice of its own."""
    attempt, notice = state.attempts.get(command.ref), command.notice
    is_due = attempt is not None and attempt.pausing is None and not attempt.is_stopping
    if attempt is not None and is_due and isinstance(attempt.standing, Observed):
        attempt.notice = notice
        if notice is not None:
            at_unix_s = UnixTime(now.unix_s + command.in_s)
            notice = msgspec.structs.replace(notice, at_unix_s=at_unix_s)
        attempt.standing = Observed(replace(attempt.standing.seen, notice=notice))
        if attempt.is_alive:
            state.emit(Notify(command.ref, notice))
    answer(state, command.seq, "done")


def _lease(state: NodeState, command: LeaseTask, now: Now) -> None:
    """The keeper's list shows when it is in force. One that has run out already is not granted:
    the scheduler repeats the command while its beats are answered."""
    attempt, until_s = state.attempts.get(command.ref), leased_until_s(state)
    is_unleased = attempt is not None and attempt.is_alive and not attempt.has_task_lease
    if is_unleased and now.mono_s < until_s:
        state.emit(GrantTaskLease(command.ref, until_s))
    answer(state, command.seq, "done")


def _forget(state: NodeState, command: ForgetTask) -> None:
    attempt = state.attempts.get(command.ref)
    if attempt is not None and not attempt.is_ended:
        answer(state, command.seq, "refused", "it has not ended")
        return
    if attempt is not None and attempt.holds_gpus:
        answer(state, command.seq, "refused", "it has left processes")
        return
    if attempt is not None:
        del state.attempts[command.ref]
        if isinstance(attempt.standing, Observed):
            state.emit(Drop(command.ref))
    state.closed.put(command.ref, command.seq)
    answer(state, command.seq, "done")


def drop_waiting(state: NodeState) -> None:
    """A new incarnation begins: pending commands of the old one are void (I8)."""
    for attempt in list(state.attempts.values()):
        if isinstance(attempt.standing, Reserved):
            del state.attempts[attempt.ref]
            continue
        attempt.resuming = None
        if attempt.pausing is not None:
            attempt.pausing = replace(attempt.pausing, seq=None)
