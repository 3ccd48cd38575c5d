"""Externally raised power caps: detected, set back, counted at the maximum, the cause killed (I2).

Theory. NVML lets any root process of the host set a limit, so an agent cannot prevent a raise. It
can detect one: a limit that was read is above what was set and read back before. The next step of
`steer` sets it back at once. After the first raise the limits are read at every tick for a while,
so that a loop is detected within a fraction of a second. A cap that was raised `RAISES` times
within `WITHIN_S` limits nothing any more: its GPU counts its maximum cap times overshoot, like an
unmanaged one, also while it idles, and is allocated to no task. A Hello reports this at once.

Anything explained otherwise is no raise: a reloaded driver, a GPU that was lost and is back, a BMC
that lifts its own limit (the host's limit counts all the time).

Tasks on such a GPU that could have done it (root, or CAP_SYS_ADMIN) are frozen at once and killed
as soon as they are frozen. Where there is none, nothing is killed. The GPU counts normally again
once those killed have ended and a reading after that found the limit as set, or after `HOLD_S`
without a raise.
"""

from wattline_agent.core.effects import FindPrivileged, Freeze, Kill
from wattline_agent.core.model import NodeState
from wattline_agent.core.ports import FastReading
from wattline_agent.core.power import held_watts
from wattline_agent.core.power.gpus import Gpu, Raised
from wattline_agent.core.tasks.attempt import Attempt
from wattline_protocol.ids import Now, TaskRef
from wattline_protocol.text.wording import power_text
from wattline_protocol.wire.raised_cap import RaisedCap

RAISES = 2
"""A single raise may be an operator with nvidia-smi; a raise repeated after it was set back is
intended."""
WITHIN_S = 60.0
WATCH_S = 5.0
"""For this long after a raise the limits are read every `RECHECK_S`, not only with each sample."""
RECHECK_S = 0.2
HOLD_S = 300.0
"""After this long without a raise a GPU counts normally again, even if no task was killed."""
KILL_AFTER_S = 1.0
"""The kill follows by then, also where the freeze takes longer."""
MAX_REPORTED = 16
"""Maximum of tasks named with a GPU."""


def take_limit(state: NodeState, gpu: Gpu, before_mw: int, now: Now) -> None:
    """A limit was read that follows `before_mw`, with nothing in between that explains a raise."""
    if state.facts.is_observe or not gpu.can_set:
        return
    if gpu.limit_mw > max(before_mw, gpu.asked_mw or 0):
        _raised(state, gpu, now)
    elif gpu.raised is not None and _is_above(gpu):
        gpu.raised.last_s = now.mono_s


def take_set(state: NodeState, gpu: Gpu, now: Now) -> None:
    """A set was accepted, and the limit read back is above it: raised again at once, if it was
    raised as far before. A driver that rounds a limit up is no raise."""
    if state.facts.is_observe or not _is_above(gpu):
        return
    if gpu.raised_mw and gpu.limit_mw >= gpu.raised_mw and _is_recent(gpu, now):
        _raised(state, gpu, now)


def _is_above(gpu: Gpu) -> bool:
    return gpu.asked_mw is not None and gpu.limit_mw > gpu.asked_mw


def _is_recent(gpu: Gpu, now: Now) -> bool:
    return bool(gpu.raised_at) and now.mono_s - gpu.raised_at[-1] <= WITHIN_S


def is_watched(gpu: Gpu, now: Now) -> bool:
    """Whether its limit is read at every tick."""
    return bool(gpu.raised_at) and now.mono_s - gpu.raised_at[-1] <= WATCH_S


def _raised(state: NodeState, gpu: Gpu, now: Now) -> None:
    gpu.raised_at.append(now.mono_s)
    gpu.raised_mw = gpu.limit_mw
    known = gpu.raised
    if known is not None:
        known.last_s, known.times = now.mono_s, known.times + 1
        known.limit_mw = max(known.limit_mw, gpu.limit_mw)
        if known.cleared_s is not None:  # those killed for it were not the only cause
            known.cleared_s, known.is_judged, known.culprits = None, False, ()
            state.emit(FindPrivileged())
        return
    if len(gpu.raised_at) < RAISES or now.mono_s - gpu.raised_at[0] > WITHIN_S:
        return
    set_mw = gpu.asked_mw if gpu.asked_mw is not None else gpu.info.cap_min_mw
    gpu.raised = Raised(now.mono_s, now.mono_s, set_mw, gpu.limit_mw, RAISES)
    state.session.hello_due_s = now.mono_s  # only a Hello updates the scheduler's books (I9)
    state.note("cap_raised", f"GPU {gpu.index}: {describe(gpu.raised)}")
    state.emit(FindPrivileged())


def judge(state: NodeState, privileged: frozenset[TaskRef], now: Now) -> None:
    """These attempts could have raised caps: freeze those whose own GPU's cap was raised."""
    for gpu in state.gpus:
        if gpu.raised is None or gpu.raised.is_judged:
            continue
        gpu.raised.is_judged = True
        here = [a for a in held_watts.users(state, gpu.index) if a.ref in privileged]
        gpu.raised.culprits = tuple(a.ref for a in here)
        gpu.raised.elsewhere = tuple(sorted(privileged - set(gpu.raised.culprits)))
        for attempt in here:
            _convict(state, attempt, gpu, gpu.raised, now)


def _convict(state: NodeState, attempt: Attempt, gpu: Gpu, raised: Raised, now: Now) -> None:
    if attempt.condemned or not attempt.is_alive:
        return
    attempt.condemned = (
        f"killed: the power cap of GPU {gpu.index} was raised to {power_text(raised.limit_mw)} "
        f"{raised.times} times (set: {power_text(raised.set_mw)}), and this task has the rights "
        "to do so (root or CAP_SYS_ADMIN)"
    )
    attempt.kill_at_s = now.mono_s + KILL_AFTER_S
    state.note("task_condemned", f"{attempt.ref} of {attempt.order.owner}: {attempt.condemned}")
    if not attempt.is_frozen:
        state.emit(Freeze(attempt.ref))


def step(state: NodeState, now: Now) -> None:
    """Kill what is frozen for it, and let GPUs count normally again; called after every event."""
    for attempt in state.attempts.values():
        is_due = attempt.is_frozen or now.mono_s >= attempt.kill_at_s
        if attempt.condemned and is_due and attempt.is_alive and not attempt.is_killed:
            attempt.is_killed = True
            state.emit(Kill(attempt.ref, "cap_raised", attempt.condemned))
            state.note("task_killed", f"{attempt.ref}: {attempt.condemned}")
    for gpu in state.gpus:
        if gpu.raised is not None:
            _release(state, gpu, gpu.raised, now)


def _release(state: NodeState, gpu: Gpu, raised: Raised, now: Now) -> None:
    if raised.culprits and raised.cleared_s is None and not _any_left(state, raised):
        raised.cleared_s = now.mono_s
    reading = gpu.reading
    if gpu.fault or _is_above(gpu) or not isinstance(reading, FastReading):
        return
    is_ended = raised.cleared_s is not None and reading.mono_s > raised.cleared_s
    if is_ended or now.mono_s - raised.last_s >= HOLD_S:
        gpu.raised, gpu.raised_mw = None, 0
        gpu.raised_at.clear()
        state.note("cap_holds", f"GPU {gpu.index}: its cap holds again and counts")


def _any_left(state: NodeState, raised: Raised) -> bool:
    found = (state.attempts.get(ref) for ref in raised.culprits)
    return any(attempt is not None and attempt.holds_gpus for attempt in found)


def describe(raised: Raised) -> str:
    """As text, for the log and the beats."""
    count = f"{raised.times} times" if raised.times < 1000 else "repeatedly"
    return (
        f"its cap was raised {count}, to {power_text(raised.limit_mw)} "
        f"(set: {power_text(raised.set_mw)}); it counts at its maximum"
    )


def reported(state: NodeState) -> tuple[RaisedCap, ...]:
    """As reported in a Beat, once the possible causes are known."""
    return tuple(
        RaisedCap(
            index=gpu.index,
            limit_mw=gpu.raised.limit_mw,
            set_mw=gpu.raised.set_mw,
            culprits=gpu.raised.culprits[:MAX_REPORTED],
            elsewhere=gpu.raised.elsewhere[:MAX_REPORTED],
        )
        for gpu in state.gpus
        if gpu.raised is not None and gpu.raised.is_judged
    )
