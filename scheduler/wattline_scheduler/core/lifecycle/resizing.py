"""Grows gangs with a range of nodes: a stop with grace, then a try on more nodes.

A gang grows only while nothing else waits to start or to resume, so it takes nothing from others,
and only after there was room for as long as its job says (`launch.settle`): each change of size
costs a save and a start. It shrinks by itself: its next try takes the nodes that there are.
"""

from dataclasses import replace

import numpy as np

from wattline_protocol.ids import Instant, Now
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.wording import counted
from wattline_scheduler.core.admission.planner_view import renew_offers, snapshot
from wattline_scheduler.core.lifecycle.ending import end_gang
from wattline_scheduler.core.lifecycle.restore_guard import why_nothing_starts
from wattline_scheduler.core.model.jobs.job import Gang
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.model.reserved_nodes import Stay
from wattline_scheduler.plan.search.gang import either, place_most
from wattline_scheduler.plan.search.quota_headroom import Quotas
from wattline_scheduler.plan.search.trial import Trial

LOOK_S = 5.0
"""Time between looks for room."""


def grow_gangs(state: State, now: Now) -> None:
    """Notes since when each gang has room, and restarts one that has had it for long enough."""
    growing = state.work.growing
    if not growing or now.mono_s < state.looks_for_room_at:
        return
    state.looks_for_room_at = Instant(now.mono_s + LOOK_S)
    if state.work.waiting() or state.work.starting or state.work.paused:
        _note_no_room(state)
        return
    if why_nothing_starts(state):
        _note_no_room(state)
        return
    renew_offers(state, now)
    seen = replace(snapshot(state, now), quotas=state.work.quotas.headrooms())
    trial = Trial(seen, state.fleet_view.cache)
    quotas = Quotas(trial)
    for gang in [growing[key] for key in sorted(growing)]:
        mark = trial.checkpoint()
        more = _room(state, trial, quotas, gang)
        trial.rollback(mark)
        if not more:
            gang.room_since = None
            continue
        if gang.room_since is None:
            gang.room_since = now.mono_s
        settle_s = gang.job.spec.launch.settle_s
        if now.mono_s - gang.room_since >= settle_s:
            _grow(state, gang, more, settle_s, now)
            _note_no_room(state)  # of others: this one takes it
            break
    trial.close()


def _note_no_room(state: State) -> None:
    for gang in state.work.growing.values():
        gang.room_since = None


def _room(state: State, trial: Trial, quotas: Quotas, gang: Gang) -> int:
    """Number of further nodes that it could have now, with their watts."""
    job, shape = gang.job, gang.job.shape
    counts_in = state.work.quotas.of(job.account, job.spec.queue)
    more = shape.resized(1, shape.most_nodes - gang.size)
    if quotas.refuses(counts_in, more):
        return 0
    more = quotas.within(counts_in, more)
    limit_s, grace_s = job.spec.limits.runtime_s, job.spec.recovery.grace_s
    runs_s = state.work.runtime_bounds.bound_s(job.kind, limit_s, grace_s)
    stay = Stay(job.spec.reservation, runs_s)
    taken = np.zeros(trial.columns.node_count, bool)
    taken[[trial.snapshot.position[attempt.node] for attempt in gang.live]] = True
    racks = trial.columns.rack
    elsewhere = racks != racks[taken.argmax()] if shape.same_rack else None
    barred = either(either(taken, trial.barred(stay)), quotas.barred(counts_in, more))
    return len(place_most(trial, more, (), elsewhere, barred))


def _grow(state: State, gang: Gang, more: int, settle_s: float, now: Now) -> None:
    room = f"there has been room for {counted(more, 'more node')} for {format_duration(settle_s)}"
    reason = f"restarts on more than {counted(gang.size, 'node')}: {room}"
    text = f"{gang.name} saves and {reason}"
    state.journal.note("gang_resized", text, now, job=gang.job.id)
    end_gang(state, gang, "resized", reason, now)
