"""The table of worths says what looking at fragments and prices of each node says."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from support.strategies.plans import snapshots
from wattline_protocol.site.wall_power import wall_mw
from wattline_scheduler.plan.mix.fragmentation import growth
from wattline_scheduler.plan.mix.fragmentation_table import Worths
from wattline_scheduler.plan.model.snapshot import Snapshot
from wattline_scheduler.plan.model.task_request import ask_of, fits
from wattline_scheduler.plan.search.trial import Trial

CLOSE_MILLI = 1e-5
"""Sums in another order, rounded to millionths."""


@given(snapshots(), st.data())
def test_the_table_is_exact_while_nodes_change(snap: Snapshot, data: st.DataObject) -> None:
    columns, of = snap.columns, snap.prices
    if of is None or not snap.nodes:
        return
    worths = Worths(columns, of)
    worths.follow(columns, range(columns.node_count))
    shapes = sorted({w.shape for w in snap.waiting}, key=repr)
    for _ in range(3):
        for shape in shapes:
            ask = ask_of(shape, columns.classes)
            able = np.flatnonzero(fits(columns, ask))
            found, wanted = worths.growth(columns, ask, able), growth(columns, ask, of, able)
            assert np.allclose(found.milli, wanted.milli, rtol=0, atol=CLOSE_MILLI)
            assert (found.slot is None) == (not ask.is_share)
        at = data.draw(st.integers(0, columns.node_count - 1))
        columns.free_milli[at] = data.draw(st.permutations(columns.free_milli[at].tolist()))
        columns.cpus_free[at] = data.draw(st.integers(-2, int(columns.cpus[at])))
        columns.free_milli[at][columns.gpu_class[at] == 0] = 0
        columns.note_slots(at)
        worths.follow(columns, [at])


@given(snapshots())
def test_a_share_gets_a_gpu_whose_watts_are_there(snap: Snapshot) -> None:
    """On each node that is looked at as fitting, and no fewer watts than were said."""
    trial = Trial(snap)
    columns = trial.columns
    for shape in (w.shape for w in snap.waiting if w.shape.gpu_milli < 1000):
        costs = trial.costs(shape)
        for at in np.flatnonzero(np.isfinite(costs)).tolist():
            needed_mw, mark = int(trial.scores(shape).needed_mw[at]), trial.checkpoint()
            psu, before_mw = int(columns.psu_permille[at]), int(columns.load_mw[at])
            trial.place(at, shape)
            more_mw = wall_mw(int(columns.load_mw[at]), psu) - wall_mw(before_mw, psu)
            assert more_mw >= needed_mw
            rows = columns.group_rows[:, columns.group[at]]
            assert more_mw == 0 or (trial.headroom_for(shape.priority)[rows] >= 0).all()
            trial.rollback(mark)
