"""Grows gangs with a range of nodes: a stop with grace, then a try on more nodes.

A gang grows only while nothing else waits to start or to resume, so it takes nothing from others,
and only after there was room for as long as its job says (`launch.settle`): each change of size
costs a save and a start. It shrinks by itself: its next try takes the nodes that there are.
"""

from dataclasses import replace

from wattline_protocol.ids import Instant, Now
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.wording import counted
from wattline_scheduler.core.admission.planner_view import renew_offers, snapshot
from wattline_scheduler.core.lifecycle.ending import end_gang
from wattline_scheduler.core.lifecycle.preemption import allocation_of
from wattline_scheduler.core.lifecycle.restore_guard import why_nothing_starts
from wattline_scheduler.core.model.jobs.job import Gang
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.model.reserved_nodes import Stay
from wattline_scheduler.plan.search.gang import either, place_gang
from wattline_scheduler.plan.search.quota_headroom import Quotas
from wattline_scheduler.plan.search.trial import Trial

LOOK_S = 5.0
"""Time between looks for room."""

MAX_LOOKS = 8
"""Gangs whose room is looked for at a time; others follow at the next looks."""

MAX_DOUBLINGS = 10
"""Of the wait after restarts that brought no more nodes."""


def grow_gangs(state: State, now: Now) -> None:
    """Notes since when gangs have room, and restarts one that has had it for long enough."""
    growing = state.work.growing
    if not growing or now.mono_s < state.looks_for_room_at:
        return
    state.looks_for_room_at = Instant(now.mono_s + LOOK_S)
    is_busy = bool(state.work.waiting() or state.work.starting or state.work.paused)
    if is_busy or why_nothing_starts(state):
        _note_no_room(state)
        return
    renew_offers(state, now)
    for key in list(growing)[:MAX_LOOKS]:
        gang = growing[key] = growing.pop(key)  # the last one of the next looks
        more = _room(state, gang, now)
        if not more:
            gang.room_since = None
            continue
        if gang.room_since is None:
            gang.room_since = now.mono_s
        settle_s = gang.job.spec.launch.settle_s * 2 ** min(gang.vain_growths, MAX_DOUBLINGS)
        if now.mono_s - gang.room_since >= settle_s:
            _grow(state, gang, more, settle_s, now)
            _note_no_room(state)  # of others: this one takes it
            return


def _note_no_room(state: State) -> None:
    for gang in state.work.growing.values():
        gang.room_since = None


def _room(state: State, gang: Gang, now: Now) -> int:
    """Number of further nodes on which it would start if it was stopped now.

    All of it is placed again: beside itself a task may fit that does not when all of them start,
    for a start needs more watts than what runs is known to draw.
    """
    job, shape = gang.job, gang.job.shape
    trial = Trial(replace(snapshot(state, now), quotas=state.work.quotas.headrooms()))
    try:
        counts_in, quotas = state.work.quotas.of(job.account, job.spec.queue), Quotas(trial)
        more = quotas.within(counts_in, shape.resized(1, shape.most_nodes - gang.size))
        if quotas.refuses(counts_in, more):
            return 0
        too_many_mw = quotas.barred(counts_in, more)
        for attempt in gang.live:
            held = allocation_of(state, attempt)
            trial.end(held.at, (held,), job.spec.priority)
        limit_s, grace_s = job.spec.limits.runtime_s, job.spec.recovery.grace_s
        runs_s = state.work.runtime_bounds.bound_s(job.kind, limit_s, grace_s)
        barred = either(too_many_mw, trial.barred(Stay(job.spec.reservation, runs_s)))
        whole = shape.resized(shape.nodes, gang.size + more.most_nodes)
        return max(0, len(place_gang(trial, whole, (), barred) or ()) - gang.size)
    finally:
        trial.close()


def _grow(state: State, gang: Gang, more: int, settle_s: float, now: Now) -> None:
    lasted = format_duration(float(round(settle_s)))
    room = f"there has been room for {counted(more, 'more node')} for {lasted}"
    reason = f"restarts on more than {counted(gang.size, 'node')}: {room}"
    gang.grows_from = gang.size
    text = f"{gang.name} saves and {reason}"
    state.journal.note("gang_resized", text, now, job=gang.job.id)
    end_gang(state, gang, "resized", reason, now)
