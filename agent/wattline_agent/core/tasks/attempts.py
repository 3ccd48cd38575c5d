"""Attempts as listed by the keeper: recorded, reported, and held to their deadlines."""

from dataclasses import replace

from wattline_agent.core.effects import Drop, Freeze, Kill, Notify, SaveUsage, Send, Stop
from wattline_agent.core.model import NodeState
from wattline_agent.core.ports import TaskSeen
from wattline_agent.core.power import held_watts
from wattline_agent.core.tasks.attempt import Attempt, Ended, Launched, Observed, Pausing
from wattline_agent.core.tasks.usage import snapshot, take_run
from wattline_protocol.ids import Now, Sequence, UnixTime
from wattline_protocol.wire.agent_messages import (
    CommandDone,
    CommandOutcome,
    TaskExit,
    TaskReport,
    TaskUpdate,
)
from wattline_protocol.wire.task_order import Notice, NoticeKind

FRESH_S = 0.1
"""An attempt that ends within this after its launch is reported once, not twice: reporting that it
runs is not urgent, and each report costs a write to the scheduler's disk."""


def reports(state: NodeState) -> tuple[TaskReport, ...]:
    """Every attempt that was handed to the keeper, or never will be, in the order of names."""
    known = (a for a in state.attempts.values() if a.is_alive or a.is_ended)
    return tuple(attempt.report() for attempt in sorted(known, key=lambda a: a.ref))


def take_seen(state: NodeState, tasks: tuple[TaskSeen, ...], now: Now) -> None:
    """Record the keeper's complete list; report changed phases to the scheduler."""
    listed = {task.ref for task in tasks}
    for task in tasks:
        attempt = state.attempts.get(task.ref)
        if attempt is None and task.ref in state.closed:
            state.emit(Drop(task.ref))
            continue
        if attempt is None:
            attempt = Attempt(task.order, Observed(task), notice=task.notice)
            state.attempts[task.ref] = attempt
        attempt.standing = Observed(task)
        if task.notice is None:  # withdrawn by a thaw, or not written: the scheduler sends it again
            attempt.notice = None
        take_run(attempt, task, state.facts.cpus)
    for attempt in state.attempts.values():
        if isinstance(attempt.standing, Launched | Observed) and attempt.ref not in listed:
            _lose(state, attempt, now)
    report_changes(state, now)


def _lose(state: NodeState, attempt: Attempt, now: Now) -> None:
    detail = "the keeper no longer has this attempt; it ends its tasks when it dies"
    attempt.standing = Ended(TaskExit("keeper_lost", detail=detail, ended_unix_s=now.unix_s))
    state.note("task_lost", f"{attempt.ref}: {detail}")


def next_news_s(state: NodeState) -> float | None:
    """When the next launch has to be reported even if nothing happens; None = none waits."""
    member = state.session.member
    if member is None or member.adopted is None:
        return None
    fresh = (a.launched_s for a in state.attempts.values() if a.reported is None and a.is_alive)
    return min((launched_s + FRESH_S for launched_s in fresh), default=None)


def report_changes(state: NodeState, now: Now) -> None:
    """A TaskUpdate for each attempt with a new phase; beats repeat it until ForgetTask."""
    member = state.session.member
    is_ended = False
    for attempt in state.attempts.values():
        if attempt.phase == attempt.reported or not (attempt.is_alive or attempt.is_ended):
            continue
        is_fresh = attempt.reported is None and now.mono_s - attempt.launched_s < FRESH_S
        if is_fresh and attempt.phase in ("starting", "running"):
            continue
        if member is None or member.adopted is None:
            continue
        is_ended = is_ended or attempt.is_ended
        attempt.reported = attempt.phase
        state.emit(
            Send(TaskUpdate(member.welcome.epoch, member.welcome.incarnation, attempt.report()))
        )
    if is_ended:
        state.emit(SaveUsage(snapshot(state)))


def meet_deadlines(state: NodeState, now: Now) -> None:
    """Freeze and kill paused attempts; stop those over their runtime limit; report launches."""
    news_s = next_news_s(state)
    if news_s is not None and now.mono_s >= news_s:
        report_changes(state, now)
    for attempt in state.attempts.values():
        if attempt.pausing is not None:
            _pause_further(state, attempt, attempt.pausing, now)
        _limit_runtime(state, attempt, now)


def _pause_further(state: NodeState, attempt: Attempt, pausing: Pausing, now: Now) -> None:
    is_done = attempt.is_ended or attempt.is_frozen
    if not pausing.is_freezing and not is_done and now.mono_s >= pausing.freeze_at_s:
        state.emit(Freeze(attempt.ref))
        pausing = replace(pausing, is_freezing=True)
    if is_done and pausing.seq is not None:
        answer(state, pausing.seq, "done")
        pausing = replace(pausing, seq=None)
    if not pausing.is_settled and now.mono_s >= pausing.kill_at_s:
        if not _is_at_rest(state, attempt):
            why = f"paused ({pausing.why}), but its GPUs did not reach idle draw in time"
            state.emit(Kill(attempt.ref, "emergency", why))
            state.note("task_killed", f"{attempt.ref}: {why}")
        pausing = replace(pausing, is_settled=True)
    attempt.pausing = pausing


def _is_at_rest(state: NodeState, attempt: Attempt) -> bool:
    """Ended with nothing left, or frozen with every GPU of its own at idle draw, or computing
    nothing: the draw of such a GPU is a floor set by its driver, which a kill would not end.
    """
    if not attempt.holds_gpus:
        return True
    if not attempt.is_frozen:
        return False
    # On GPUs shared with others, the draw does not show whether this attempt is idle.
    own = [
        gpu
        for gpu in held_watts.gpus_of(state, attempt)
        if not held_watts.has_load_of_others(state, gpu.index, attempt) and not gpu.foreign
    ]
    return all(
        gpu.reading is not None
        and gpu.reading.power_mw is not None
        and (gpu.reading.power_mw <= gpu.idle_bound_mw or gpu.reading.util_pct == 0)
        for gpu in own
    )


def _limit_runtime(state: NodeState, attempt: Attempt, now: Now) -> None:
    limit_s = attempt.order.runtime_limit_s
    if limit_s <= 0 or attempt.is_stopping or not isinstance(attempt.standing, Observed):
        return
    if attempt.is_ended or attempt.standing.seen.run_s < limit_s:
        return
    attempt.is_stopping = True
    why = f"over its runtime limit of {limit_s:g} s"
    if attempt.pausing is not None or attempt.is_frozen:
        state.emit(Kill(attempt.ref, "runtime_limit", why))
    else:
        grace_s = attempt.order.grace_s
        notify_stop(state, attempt, "limit", grace_s, why, now)
        state.emit(Stop(attempt.ref, grace_s, why, "runtime_limit"))
    state.note("task_over_limit", f"{attempt.ref}: {why}")


def notify_stop(
    state: NodeState, attempt: Attempt, what: NoticeKind, grace_s: float, why: str, now: Now
) -> None:
    """Notice of a stop that begins now: it names the moment of the kill."""
    notice = Notice(what, UnixTime(now.unix_s + grace_s), why, grace_s)
    state.emit(Notify(attempt.ref, notice))


def answer(state: NodeState, seq: Sequence, outcome: CommandOutcome, detail: str = "") -> None:
    """Answer a command of this incarnation, and record the answer for its repeats."""
    member = state.session.member
    assert member is not None, "only members are commanded"  # noqa: S101 - I8
    welcome = member.welcome
    done = CommandDone(welcome.epoch, welcome.incarnation, seq, outcome, detail)
    state.answers.put(seq, done)
    state.emit(Send(done))
