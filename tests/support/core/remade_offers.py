"""The site without some gangs: its offers made again, to compare what a trial gives back."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from wattline_protocol.ids import Now
from wattline_scheduler.core.admission.planner_view import current_fleet_view, offer_of, snapshot_of
from wattline_scheduler.core.explain.hypothetical import Case
from wattline_scheduler.core.model.gpu_holders import release
from wattline_scheduler.core.model.jobs.job import Gang
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.model.columns import Columns
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.power.topology.matrix import Ints
from wattline_scheduler.time_slices import at_once


def remade(state: State, removed: Sequence[Gang], now: Now) -> Trial:
    """A trial on offers of nodes that never had them."""
    fleet_view = current_fleet_view(state, now).copy_all()
    nodes = {name: node.copy() for name, node in state.nodes.items()}
    for attempt in (one for gang in removed for one in state.work.live_of(gang)):
        node, shape = nodes[attempt.node], attempt.gang.job.shape
        release(node, attempt)
        node.cpus_used -= shape.cpus
        node.memory_used_bytes -= shape.memory_bytes
    for node in nodes.values():
        fleet_view.put(offer_of(state, node, now))
    return Trial(snapshot_of(state, fleet_view, now))


def compare(state: State, removed: Sequence[Gang], now: Now, *, is_exact: bool = False) -> None:
    """A trial without these gangs has no more than the offers made again; `is_exact`: as much."""
    state = replace(state, outdated=dict.fromkeys(state.nodes))  # what was learned is booked
    made = remade(state, removed, now)
    case = Case(state, (), now)
    with at_once(case._trial(removed)) as trial:
        ours, theirs = trial.columns, made.columns
        assert (ours.is_open == theirs.is_open).all()
        assert (ours.cpus_free == theirs.cpus_free).all()
        assert (ours.memory_free_bytes == theirs.memory_free_bytes).all()
        assert (ours.load_mw >= theirs.load_mw).all()
        assert (_free(ours) <= _free(theirs)).all()
        assert not is_exact or (_free(ours) == _free(theirs)).all()
        assert not is_exact or (ours.load_mw == theirs.load_mw).all()
        rounded_mw = 2 * len(state.nodes)
        for priority in (1, 25, 50, 75, 100):
            more_mw = (trial.headroom_for(priority) - made.headroom_for(priority))[:-1]
            assert (more_mw <= rounded_mw).all()
            assert not is_exact or (more_mw >= -rounded_mw).all()


def _free(columns: Columns) -> Ints:
    """[node, class] free thousandths of its GPUs."""
    classes = np.arange(len(columns.classes))
    is_of = columns.gpu_class[:, :, np.newaxis] == classes
    free: Ints = (is_of * columns.free_milli[:, :, np.newaxis]).sum(axis=1)
    return free
