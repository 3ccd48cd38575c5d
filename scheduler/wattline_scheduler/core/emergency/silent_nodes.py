"""Chooses silent nodes to power off, so that their gangs start elsewhere (I7).

Theory. A silent node may run its tasks, or be dead: only a host that is off is certain. A power-off
costs what still runs there, so it is done for few nodes, late, and only where it helps. Many silent
nodes at once are a fault of the network or of the scheduler's host, not of the nodes.
"""

from itertools import islice
from typing import NamedTuple

from wattline_protocol.ids import Now
from wattline_protocol.text.wording import counted, listed
from wattline_scheduler.core.admission.planner_view import renew_offers, snapshot
from wattline_scheduler.core.emergency.bmc_checks import is_verified
from wattline_scheduler.core.emergency.unresponsive import is_switchable
from wattline_scheduler.core.lifecycle.ending import ends_for_good
from wattline_scheduler.core.lifecycle.preemption import allocation_of
from wattline_scheduler.core.lifecycle.stand_ins import LATE_BEATS
from wattline_scheduler.core.model.jobs.job import Gang
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.model.reserved_nodes import Stay
from wattline_scheduler.plan.search.gang import place_gang
from wattline_scheduler.plan.search.trial import Trial

MAX_GANGS_TRIED = 8
"""Gangs of one node for which a place elsewhere is searched, the highest priority first."""


class Silence(NamedTuple):
    """What follows from the silent nodes of the site."""

    to_fence: tuple[NodeNow, ...] = ()
    withheld: str = ""
    """Reason why none is fenced, for an alarm; empty: none is due, or some are fenced."""


def judge_silence(state: State, now: Now) -> Silence:
    """The nodes to fence now, or why none is although some are due."""
    if not state.site.timing.fence_after_s:
        return Silence()
    due = [node for node in state.nodes.values() if _is_due(state, node, now)]
    if not due:
        return Silence()
    away = [node for node in state.nodes.values() if _is_away(state, node, now)]
    if len(away) > state.site.fence_max:
        return Silence(withheld=_withheld(state, away))
    renew_offers(state, now)
    return Silence(tuple(node for node in due if _would_start_elsewhere(state, node, now)))


def _is_due(state: State, node: NodeNow, now: Now) -> bool:
    """Whether it is silent for so long that it is fenced, and may be.

    Of the silence the last `isolation_after` must be uninterrupted: a scheduler that has stalled
    first reads what nodes sent meanwhile. An intent on record has waited before.
    """
    record, timing = node.record, state.site.timing
    if not node.attempts or record.is_quarantined:
        return False
    since = _heard_at(state, node)
    heard_within_s = max(0.0, now.mono_s - max(since, state.off_attempts.listening_since))
    needed_s = 0.0 if record.fence == "ordered" else timing.fence_after_s
    is_silent = now.mono_s - since >= needed_s and heard_within_s >= timing.isolation_after_s
    return is_silent and is_verified(node) and is_switchable(state, node, now)


def _heard_at(state: State, node: NodeNow) -> float:
    return state.started_at if node.heard_at is None else node.heard_at


def _is_away(state: State, node: NodeNow, now: Now) -> bool:
    """Whether it counts against `fence_max`: late, silent or fenced."""
    record = node.record
    if record.fence:
        return True
    if record.is_off or record.is_quarantined or not record.incarnation:
        return False
    late_s = LATE_BEATS * state.site.timing.beat_period_s
    return node.heard_at is None or now.mono_s - node.heard_at > late_s


def _withheld(state: State, away: list[NodeNow]) -> str:
    names = listed(sorted(node.id for node in away))
    return (
        f"{counted(len(away), 'node')} silent or fenced, fence_max is {state.site.fence_max}: none "
        f"is switched off, their jobs wait ({names})"
    )


def _would_start_elsewhere(state: State, node: NodeNow, now: Now) -> bool:
    """Whether any gang of the node, stopped now, would start on other nodes."""
    gangs = {attempt.gang.key: attempt.gang for attempt in node.attempts.values()}
    again = (gang for gang in gangs.values() if _runs_again(gang))
    first = sorted(again, key=lambda gang: -gang.job.spec.priority)
    return any(_fits(state, gang, now) for gang in islice(first, MAX_GANGS_TRIED))


def _runs_again(gang: Gang) -> bool:
    job = gang.job
    is_unwanted = gang.is_held or bool(job.record.cancelled_by) or ends_for_good(gang)
    return job.may_start and not is_unwanted


def _fits(state: State, gang: Gang, now: Now) -> bool:
    """A trial placement with what the gang holds given back. A silent node is offered to none."""
    trial, spec = Trial(snapshot(state, now)), gang.job.spec
    try:
        for attempt in gang.live:
            held = allocation_of(state, attempt)
            trial.end(held.at, (held,), spec.priority)
        barred = trial.barred(Stay(spec.reservation, data=spec.data.datasets))
        return place_gang(trial, gang.job.shape, (), barred) is not None
    finally:
        trial.close()
