"""Arbitrary reservations: no placement breaks one, and none keeps more from others than it says."""

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from support.core.one_by_one import takes
from support.core.reserved import may_start, span_of
from support.strategies.plans import snapshots
from wattline_scheduler.plan.check import passing
from wattline_scheduler.plan.cycle import plan
from wattline_scheduler.plan.model.column_writer import put_node
from wattline_scheduler.plan.model.reserved_nodes import NEAR_S, Reservations, Span, Stay
from wattline_scheduler.plan.model.snapshot import Plan, Snapshot
from wattline_scheduler.plan.search.score_cache import ScoreCache
from wattline_scheduler.plan.search.trial import Trial

NAMES = ("one", "two", "three", "four")
HOUR_S = 3600.0


@st.composite
def spans_on(draw: st.DrawFn, node_count: int) -> list[Span]:
    """Some reservations, no two of one node at a time."""
    spans: list[Span] = []
    for name in NAMES[: draw(st.integers(0, len(NAMES)))]:
        start = draw(st.integers(-10, 60)) * HOUR_S
        end = start + draw(st.integers(1, 20)) * HOUR_S
        nodes = draw(st.sets(st.integers(0, node_count - 1), min_size=1))
        free = nodes - {
            at
            for other in spans
            if other.start_unix_s < end and start < other.end_unix_s
            for at in other.nodes.tolist()
        }
        if free:
            spans.append(span_of(name, start, end, sorted(free)))
    return spans


def stays() -> st.SearchStrategy[Stay]:
    runs = st.none() | st.integers(0, 80).map(lambda hours: hours * HOUR_S)
    return st.builds(Stay, st.sampled_from(("", "", *NAMES)), runs)


@st.composite
def reserved_sites(draw: st.DrawFn) -> tuple[Snapshot, list[Span]]:
    """A site with a queue, where some want into reservations and some say how long they run."""
    snap = draw(snapshots())
    spans = draw(spans_on(len(snap.nodes)))
    waiting = []
    for each in snap.waiting:
        stay = draw(stays())
        one = dataclasses.replace(each, reservation=stay.reservation, runs_s=stay.runs_s)
        waiting.append(one)
    seen = Reservations(spans, len(snap.nodes), 0.0)
    return dataclasses.replace(snap, reservations=seen, waiting=tuple(waiting)), spans


@given(st.data(), stays(), st.integers(0, 40))
def test_who_may_start_where_is_as_the_reservations_say(
    data: st.DataObject, stay: Stay, hours: int
) -> None:
    spans = data.draw(spans_on(5))
    seen, later = Reservations(spans, 5, 0.0), hours * HOUR_S / 2
    moved = seen.at(later) if seen.is_valid_at(later) else Reservations(spans, 5, later)
    barred = moved.barred(stay)
    may = [may_start(spans, at, stay, later) for at in range(5)]
    assert (barred is None) == all(may)
    assert barred is None or (~barred).tolist() == may
    latest = moved.latest_s(stay)
    assert (latest >= 0).tolist() == may
    for at in np.flatnonzero(np.isfinite(latest) & (latest >= 0)).tolist():
        just, over = later + float(latest[at]) - 1, later + float(latest[at]) + 1
        assert latest[at] < 1 or may_start(spans, at, stay, just)
        assert not may_start(spans, at, stay, over)


@given(st.data(), stays(), stays())
def test_stays_of_one_key_are_alike(data: st.DataObject, one: Stay, other: Stay) -> None:
    seen = Reservations(data.draw(spans_on(4)), 4, 0.0)
    if seen.key(one) == seen.key(other):
        assert np.array_equal(seen.latest_s(one) >= 0, seen.latest_s(other) >= 0)


def test_work_of_unknown_length_starts_until_the_reservation_is_near() -> None:
    spans = [span_of("far", NEAR_S, NEAR_S + HOUR_S, [0])]
    assert Reservations(spans, 1, 0.0).barred(Stay()) is None
    barred = Reservations(spans, 1, 1.0).barred(Stay())
    assert barred is not None
    assert barred.all()


@given(reserved_sites())
def test_no_placement_breaks_a_reservation(site: tuple[Snapshot, list[Span]]) -> None:
    snap, spans = site
    result, asked = plan(snap), {each.job: each for each in snap.waiting}
    trial = Trial(snap)
    for placement in result.placements:
        each = asked[placement.job]
        for task in placement.tasks:
            assert may_start(spans, snap.position[task.node], each.stay, 0.0)
        assert takes(trial, placement, each.shape, stay=each.stay)


@given(reserved_sites())
def test_the_check_refuses_what_breaks_one(site: tuple[Snapshot, list[Span]]) -> None:
    snap, spans = site
    asked = {each.job: each for each in snap.waiting}
    for placement in plan(dataclasses.replace(snap, reservations=None)).placements:
        each = asked[placement.job]
        at = [snap.position[task.node] for task in placement.tasks]
        is_right = all(may_start(spans, one, each.stay, 0.0) for one in at)
        assert is_right or not passing(Trial(snap), [(placement, each)])


@given(reserved_sites())
def test_a_job_is_placed_as_if_what_is_reserved_were_closed(
    site: tuple[Snapshot, list[Span]],
) -> None:
    """Exactly: no node is kept from it that it may use, and the best of those is chosen."""
    snap, spans = site
    for each in snap.waiting:
        alone = dataclasses.replace(snap, waiting=(each,))
        may = [may_start(spans, at, each.stay, 0.0) for at in range(len(snap.nodes))]
        assert plan(alone).placements == _plan_closed(alone, may).placements


def _plan_closed(snap: Snapshot, may: list[bool]) -> Plan:
    columns = snap.columns.copy_all()
    closed = [
        node if is_open else dataclasses.replace(node, closed="reserved")
        for node, is_open in zip(snap.nodes, may, strict=True)
    ]
    for at, node in enumerate(closed):
        put_node(columns, at, node)
    return plan(dataclasses.replace(snap, nodes=tuple(closed), columns=columns, reservations=None))


@given(reserved_sites())
def test_a_plan_with_memory_is_the_same(site: tuple[Snapshot, list[Span]]) -> None:
    snap, _ = site
    cache, fresh = ScoreCache(), plan(snap)
    found = fresh
    for _ in range(2):
        found = plan(snap, found.memory, cache=cache)
        assert found.placements == fresh.placements
        assert (found.waits, found.promised) == (fresh.waits, fresh.promised)
