"""Columns say of every node and shape what looking at the node itself says."""

import numpy as np
from hypothesis import given

from support.plan_strategies import snapshots
from wattline_scheduler.plan.asks import ask_of, fits, needed_mw, slots_for
from wattline_scheduler.plan.feasible import refusal
from wattline_scheduler.plan.offers import columns_of
from wattline_scheduler.plan.rank import Weights, costs, score
from wattline_scheduler.plan.rooms import most_mw, room_for
from wattline_scheduler.plan.snapshot import Snapshot
from wattline_scheduler.plan.trial import Trial

IN_TURN = Weights(fit=1e9, warmth=1e6, stranding=1e3, cpus=1e-6)
"""A term counts only where those before it are equal, but for the last two."""


@given(snapshots())
def test_columns_agree_with_a_look_at_each_node(snap: Snapshot) -> None:
    trial, columns = Trial(snap), columns_of(snap)
    for shape in {w.shape for w in snap.waiting}:
        ask = ask_of(shape, columns.classes)
        can, needed = fits(columns, ask), needed_mw(columns, ask)
        most = most_mw(columns, room_for(columns, shape.priority))[columns.group]
        cost = costs(columns, ask, shape.priority, IN_TURN)
        for at in range(len(snap.nodes)):
            refused = refusal(trial, at, shape)
            is_node_fit = refused is None or refused.name in ("watts", "cooling")
            assert is_node_fit == can[at]
            if is_node_fit:
                assert needed[at] == trial.needed_mw(at, shape)
                gpus = tuple(sorted(columns.gpu_index[at, slots_for(columns, ask, at)].tolist()))
                assert gpus == tuple(g.index for g in trial.chosen(at, shape))
                assert (needed[at] <= most[at]) == (refused is None)
            assert np.isfinite(cost[at]) == (refused is None)
        fitting = [at for at in range(len(snap.nodes)) if np.isfinite(cost[at])]
        if fitting:
            best = min(fitting, key=lambda at: score(trial, at, shape))
            assert score(trial, int(np.argmin(cost)), shape)[:3] == score(trial, best, shape)[:3]
