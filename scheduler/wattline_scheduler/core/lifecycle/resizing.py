"""Grows gangs with a range of nodes: a stop with grace, then a try on more nodes.

A gang takes nothing that others wait for: it grows only while nothing starts or waits to resume,
and what is pending could use none of its nodes, old or new. It grows only after there was room for
as long as its job says (`launch.settle`): each change of size costs a save and a start. It shrinks
by itself: its next try takes the nodes that there are.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

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
from wattline_scheduler.plan.search.feasible import may_fit_once
from wattline_scheduler.plan.search.gang import either, place_gang
from wattline_scheduler.plan.search.quota_headroom import Quotas
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.power.topology.matrix import Bools

LOOK_S = 5.0
"""Time between looks for room."""

MAX_LOOKS = 8
"""Gangs whose room is looked for at a time; others follow at the next looks."""

MAX_REQUESTS = 64
"""Different tasks of pending jobs that are compared with the nodes; of more any may want any."""

MAX_DOUBLINGS = 10
"""Of the wait after restarts that brought no more nodes."""


class Awaited(NamedTuple):
    """What pending jobs wait for."""

    nodes: Bools
    """[node] could run a task of one of them, now or once others have ended."""
    quotas: frozenset[int]
    """Those that count them."""


def grow_gangs(state: State, now: Now) -> None:
    """Notes since when gangs have room, and restarts one that has had it for long enough."""
    growing = state.work.growing
    if not growing or now.mono_s < state.looks_for_room_at:
        return
    state.looks_for_room_at = Instant(now.mono_s + LOOK_S)
    if state.work.starting or state.work.paused or why_nothing_starts(state):
        _note_no_room(state)
        return
    renew_offers(state, now)
    awaited = _awaited(state, now)
    if awaited is None:
        _note_no_room(state)
        return
    for key in list(growing)[:MAX_LOOKS]:
        gang = growing[key] = growing.pop(key)  # the last one of the next looks
        more = _room(state, gang, awaited, now)
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


def _awaited(state: State, now: Now) -> Awaited | None:
    """None: any growth could take what a pending job waits for.

    A job for which a node has room now waits for watts, or for more nodes: watts are not those of
    a node alone. Where it has none on any node, it waits for work that will give back its watts.
    """
    waiting = state.work.waiting()
    requests = {one.shape.task: one.shape for one in waiting}
    if len(requests) > MAX_REQUESTS:
        return None
    trial = Trial(snapshot(state, now))
    try:
        nodes = np.zeros(trial.columns.node_count, np.bool_)
        for shape in requests.values():
            if np.isfinite(trial.scores(shape).cost).any():
                return None
            nodes |= may_fit_once(trial, shape)
    finally:
        trial.close()
    return Awaited(nodes, frozenset(quota for one in waiting for quota in one.quotas))


def _room(state: State, gang: Gang, awaited: Awaited, now: Now) -> int:
    """Number of further nodes on which it would start if it was stopped now.

    All of it is placed again: beside itself a task may fit that does not when all of them start,
    for a start needs more watts than what runs is known to draw.
    """
    job, shape = gang.job, gang.job.shape
    trial = Trial(replace(snapshot(state, now), quotas=state.work.quotas.headrooms()))
    try:
        counts_in, quotas = state.work.quotas.of(job.account, job.spec.queue), Quotas(trial)
        own = [trial.snapshot.position[attempt.node] for attempt in gang.live]
        if awaited.nodes[own].any() or awaited.quotas.intersection(counts_in):
            return 0
        more = quotas.within(counts_in, shape.resized(1, shape.most_nodes - gang.size))
        if quotas.refuses(counts_in, more):
            return 0
        too_many_mw = quotas.barred(counts_in, more)
        for attempt in gang.live:
            held = allocation_of(state, attempt)
            trial.end(held.at, (held,), job.spec.priority)
        limit_s, grace_s = job.spec.limits.runtime_s, job.spec.recovery.grace_s
        runs_s = state.work.runtime_bounds.bound_s(job.kind, limit_s, grace_s)
        stay = Stay(job.spec.reservation, runs_s, job.spec.data.datasets)
        barred = either(too_many_mw, trial.barred(stay))
        barred = either(awaited.nodes, barred)
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
