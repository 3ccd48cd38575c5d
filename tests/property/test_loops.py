"""The compiled loops find, choose and take what array operations do: to the last bit."""

import dataclasses
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from support.core.sites import job
from support.core.snapshots import offer, shape, snapshot
from support.strategies.plans import snapshots
from wattline_protocol.ids import DomainId, Instant
from wattline_scheduler.plan.cycle import plan
from wattline_scheduler.plan.mix.fragmentation import mix_of, prices
from wattline_scheduler.plan.model.column_writer import RowHeadroom, snapshot_of
from wattline_scheduler.plan.model.columns import MOST_IDLE_MW, TRIED, WHOLE_MILLI
from wattline_scheduler.plan.model.shape import Shape
from wattline_scheduler.plan.model.snapshot import Snapshot, TaskPlace
from wattline_scheduler.plan.model.task_request import ask_of
from wattline_scheduler.plan.model.task_request import fits as task_fits
from wattline_scheduler.plan.search import native_loops
from wattline_scheduler.plan.search.native_structs import pointer
from wattline_scheduler.plan.search.score_cache import ScoreCache, ShapeScores
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.power.topology.matrix import Bools, Ints

SOURCE = Path(native_loops.__file__).with_name("native_loops.c")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> native_loops.Library:
    """As the install builds it."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc) here")
    file = tmp_path_factory.mktemp("loops") / "_loops.so"
    command = [compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off"]
    command += ["-shared", "-fPIC", "-o", str(file), str(SOURCE)]
    subprocess.run(command, check=True, timeout=60)
    found = native_loops.load_loops(file.parent)
    assert found is not None
    return found


PLAIN = [shape(job().gpus(gpus)) for gpus in (0, 1, 2, 4)]
"""What loops know."""


def known(snap: Snapshot) -> Snapshot:
    """With the prices of a mix."""
    tasks = [(ask_of(one, snap.columns.classes), 1.0) for one in PLAIN]
    return dataclasses.replace(snap, prices=prices(snap.columns, mix_of(tasks)))


class Pair:
    """Two trials of the same snapshot, with loops and without."""

    def __init__(self, snap: Snapshot, library: native_loops.Library) -> None:
        self.nodes, self._cache = range(len(snap.nodes)), (ScoreCache(), ScoreCache())
        with patch.object(native_loops, "LIBRARY", library):
            self.in_loops = Trial(snap, self._cache[0])
        with patch.object(native_loops, "LIBRARY", None):
            self.in_arrays = Trial(snap, self._cache[1])

    def evaluate_again(self, wanted: Shape) -> tuple[ShapeScores, ShapeScores]:
        """At every node, and where the task leads to is known by then."""
        for _ in range(2):
            found = self.in_loops.scores(wanted), self.in_arrays.scores(wanted)
            assert self.in_loops.effort == self.in_arrays.effort
            for cache in self._cache:
                for at in self.nodes:
                    cache.touch(at)
        return found

    def place_best(self, wanted: Shape, barred: Bools | None = None) -> TaskPlace | None:
        """On the same GPUs, and the same is left."""
        place = self.in_loops.place_best(wanted, barred)
        assert place == self.in_arrays.place_best(wanted, barred)
        assert self.in_loops.effort == self.in_arrays.effort
        for name in TRIED:
            looped, operated = (
                getattr(trial.columns, name) for trial in (self.in_loops, self.in_arrays)
            )
            assert looped.tobytes() == operated.tobytes(), name
        return place


@st.composite
def alike(draw: st.DrawFn) -> Snapshot:
    """Nodes that often cost the same, with rows and loads at the edge of what rounds."""
    snap = draw(snapshots())
    columns = snap.columns
    _deal(draw, columns.cpus_free, range(-2, 9))
    _deal(draw, columns.warmth, range(3))
    _deal(draw, columns.load_mw, [0, 900_000, 901_001])
    _deal(draw, columns.headroom_mw[:-1], [-1, 299_999, 500_001, 4_000_000, 5_000_000])
    columns.idle_mw[columns.idle_mw > 0] = 60_000
    columns.free_milli[columns.gpu_class > 0] = WHOLE_MILLI
    columns.is_open[1:] = True
    for at in range(columns.node_count):
        columns.note_slots(at)
    weights = replace(snap.weights, watts=draw(st.sampled_from([0.0, 0.5])))
    return known(dataclasses.replace(snap, weights=weights))


def _deal(draw: st.DrawFn, column: Ints, values: Sequence[int]) -> None:
    """One or two of them, in turn."""
    some = draw(st.lists(st.sampled_from(values), min_size=1, max_size=2))
    column[:] = np.resize(some, len(column))


@settings(max_examples=200)
@given(snap=snapshots() | alike() | alike(), data=st.data())
def test_a_loop_is_the_array_operations(
    library: native_loops.Library, snap: Snapshot, data: st.DataObject
) -> None:
    """While nodes are taken one after the other, some barred, by tasks of all kinds."""
    both = Pair(snap, library)
    shapes = [*sorted({w.shape for w in snap.waiting}, key=repr), *PLAIN]
    for wanted in data.draw(st.lists(st.sampled_from(shapes), min_size=1, max_size=6)):
        looped, operated = both.evaluate_again(wanted)
        event(f"loops know it: {looped.wanted is not None and snap.prices is not None}")
        assert looped.cost.tobytes() == operated.cost.tobytes()
        fits = np.isfinite(looped.cost)
        assert (fits == task_fits(both.in_loops.columns, looped.ask)).all(), "the table of node_fit"
        assert (looped.needed_mw == operated.needed_mw)[fits].all()
        barred = None
        if data.draw(st.booleans()):
            closed = st.lists(st.booleans(), min_size=len(fits), max_size=len(fits))
            barred = np.array(data.draw(closed), np.bool_)
        event(f"placed: {both.place_best(wanted, barred) is not None}")


@given(snap=snapshots() | alike())
def test_the_same_is_planned_without_the_library(
    library: native_loops.Library, snap: Snapshot
) -> None:
    with patch.object(native_loops, "LIBRARY", library):
        looped = plan(snap)
    with patch.object(native_loops, "LIBRARY", None):
        assert plan(snap) == looped


def two_rows(headroom_mw: tuple[int, int], share: int) -> Snapshot:
    """A node below each, that counts there in part."""
    rows = [
        RowHeadroom(DomainId(f"pdu-{n}"), "", "power", mw, 10_000_000)
        for n, mw in enumerate(headroom_mw)
    ]
    above = [((row, share),) for row in range(2)]
    return known(snapshot_of(Instant(0.0), (offer("a1"), offer("b1")), rows, above))


@pytest.mark.parametrize("lacks_mw", [0, 1])
def test_a_node_fed_in_part_counts_in_part(library: native_loops.Library, lacks_mw: int) -> None:
    one = shape(job().gpus(1))
    needed_mw = int(Trial(two_rows((9_000_000, 0), 600)).scores(one).needed_mw[0])
    below_mw = -(-needed_mw * 600 // 1000) - lacks_mw
    both = Pair(two_rows((below_mw, 0), 600), library)
    both.evaluate_again(one)
    assert (both.place_best(one) is None) == bool(lacks_mw)


def test_what_rows_leave_is_asked_at_each_choice(library: native_loops.Library) -> None:
    one = shape(job().gpus(1))
    needed_mw = int(Trial(two_rows((9_000_000, 0), 1000)).scores(one).needed_mw[0])
    both = Pair(two_rows((needed_mw * 3 // 2, 0), 1000), library)
    assert both.place_best(one) is not None
    assert both.place_best(one) is None, "the row above has no more"


@pytest.mark.parametrize(("steps", "node"), [(0, "b1"), (1, "a1")])
def test_cool_air_counts_more_than_watts_left(
    library: native_loops.Library, steps: int, node: str
) -> None:
    snap, one = two_rows((2_000_000, 10_000_000), 1000), shape(job().gpus(1))
    snap.columns.warmth[1] = steps
    both = Pair(snap, library)
    both.evaluate_again(one)
    place = both.place_best(one)
    assert place is not None
    assert place.node == node


def test_a_node_without_the_memory_or_the_cpus_is_not_taken(library: native_loops.Library) -> None:
    some = offer("a1", memory_gib=15), offer("b1", cpus=3), offer("c1", memory_gib=16, cpus=4)
    both, one = (
        Pair(known(snapshot(*some)), library),
        shape(job().gpus(1).memory(16).cpus_per_gpu(4)),
    )
    both.evaluate_again(one)
    place = both.place_best(one)
    assert place is not None
    assert place.node == "c1"


def test_the_effort_counts_nodes_that_fit(library: native_loops.Library) -> None:
    snap = snapshot(*(offer(f"a{n}") for n in range(200)))
    both, one = Pair(known(snap), library), shape(job().gpus(1))
    for _ in range(3):
        both.evaluate_again(one)
        assert both.place_best(one) is not None


def test_another_library_is_not_taken_for_this_one(tmp_path: Path) -> None:
    assert native_loops.load_loops(tmp_path) is None
    (tmp_path / "_loops.so").write_text("not a library")
    assert native_loops.load_loops(tmp_path) is None


def test_an_array_of_another_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="int32, wanted one block of int64"):
        pointer(np.zeros(3, np.int32), np.dtype(np.int64))
    with pytest.raises(TypeError, match="one block"):
        pointer(np.zeros((3, 3), np.int64)[:, 1], np.dtype(np.int64))


def test_watts_beyond_what_columns_hold_count_as_the_most(library: native_loops.Library) -> None:
    claimed = offer("a1", gpus=4, idle_mw=1_500_000_000, cap_max_mw=2_000_000_000)
    pair = Pair(known(snapshot(claimed, room_kw=1e7, zone_kw=1e7)), library)
    assert pair.place_best(PLAIN[1]) is not None
    total_mw = pair.in_loops.columns.first_idle_mw[:4, 0].tolist()
    assert total_mw == [0, 1_500_000_000, MOST_IDLE_MW, MOST_IDLE_MW]
