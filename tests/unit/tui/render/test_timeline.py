"""Values over time as cells: gaps, resets, one sample, clocks that were set, labels."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline_protocol.ids import NodeId, UnixTime
from wattline_protocol.views.history_views import History, Series, Subject
from wattline_tui.render.timeline import Samples, Span, axis, cells, samples_of

MINUTE = Span(0.0, 60.0)


def test_a_cell_has_the_largest_value_within_it() -> None:
    samples = Samples((0, 5, 10, 29, 30, 59), (1, 9, 2, 3, 4, 5))
    assert cells(samples, MINUTE, 2) == [9, 5]


def test_a_value_stands_until_the_next_one_but_not_over_a_gap() -> None:
    samples = Samples((0, 10, 40), (1.0, 2.0, 3.0), hold_s=10)
    assert cells(samples, MINUTE, 6) == [1.0, 2.0, None, None, 3.0, None]


def test_none_ends_what_was_read_before() -> None:
    samples = Samples((0, 10, 20), (1.0, None, 3.0), hold_s=60)
    assert cells(samples, MINUTE, 6) == [1.0, None, 3.0, 3.0, 3.0, 3.0]


def test_one_sample_has_one_cell() -> None:
    assert cells(Samples((30.0,), (7.0,)), MINUTE, 6) == [None, None, None, 7.0, None, None]
    assert cells(Samples((60.0,), (7.0,)), MINUTE, 3) == [None, None, 7.0]
    assert cells(Samples((0.0,), (7.0,)), Span(0.0, 0.0), 3) == [7.0, None, None]


def test_a_counter_that_begins_again_falls() -> None:
    assert cells(Samples((0, 20, 40), (5, 9, 1)), MINUTE, 3) == [5, 9, 1]


def test_a_clock_that_was_set_back_draws_over_what_was_there() -> None:
    samples = Samples((0, 20, 40, 20, 30), (1, 2, 3, 8, 9), hold_s=10)
    assert cells(samples, MINUTE, 6) == [1, None, 8, 9, 3, None]


def test_what_lies_outside_is_not_shown_but_holds_into_it() -> None:
    samples = Samples((-30, -5, 70), (1, 2, 3), hold_s=20)
    assert cells(samples, MINUTE, 6) == [2, 2, None, None, None, None]
    assert cells(samples, MINUTE, 0) == []


TIMES = st.floats(-1e9, 1e9)


@given(
    read=st.lists(st.tuples(TIMES, st.none() | st.floats(-1e30, 1e30))),
    begin_s=TIMES,
    length_s=st.floats(0.0, 1e8),
    width=st.integers(0, 120),
    hold_s=st.floats(0.0, 1e9),
)
def test_there_are_as_many_cells_as_asked_for_and_only_what_was_read(
    read: list[tuple[float, float | None]],
    begin_s: float,
    length_s: float,
    width: int,
    hold_s: float,
) -> None:
    samples = Samples([time_s for time_s, _ in read], [value for _, value in read], hold_s)
    span = Span(begin_s, begin_s + length_s)
    found = cells(samples, span, width)
    assert len(found) == width
    assert set(found) <= {None, *samples.known}
    for from_end in (True, False):
        assert len(axis(span, width, from_end=from_end)) == width


def test_ages_end_now() -> None:
    assert axis(Span(100.0, 1_000.0), 45, from_end=True) == (
        "╵-15m          ╵-10m          ╵-5m       ╵now"
    )
    assert axis(Span(100.0, 1_000.0), 12, from_end=True) == "╵-15m   ╵now"
    assert axis(Span(100.0, 1_000.0), 3, from_end=True) == "   "


def test_a_run_begins_at_zero() -> None:
    hours = Span(1e9, 1e9 + 5.5 * 3_600)
    assert axis(hours, 33, from_end=False) == "╵0          ╵2h         ╵4h      "
    assert axis(Span(0.0, 0.0), 10, from_end=False).strip() == "╵0"


@pytest.mark.parametrize(
    ("length_s", "label"), [(30, "15s"), (300, "2m"), (7_200, "1h"), (4e5, "2d"), (9e7, "392d")]
)
def test_labels_are_in_the_largest_unit(length_s: float, label: str) -> None:
    assert f"╵{label}" in axis(Span(0.0, length_s), 24, from_end=False)


def test_no_time_zone_moves_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    """The span crosses the start of daylight saving time in Europe."""
    span = Span(1_774_746_000.0 - 7_200, 1_774_746_000.0 + 7_200)
    drawn = set()
    for zone in ("UTC", "Europe/Berlin", "Australia/Lord_Howe"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        drawn.add(axis(span, 60, from_end=True))
    monkeypatch.undo()
    time.tzset()
    assert len(drawn) == 1


def test_a_history_stands_at_even_steps() -> None:
    series = Series(Subject("node", NodeId("a")), {"drawn_w": (1.0, None, 3.0)})
    history = History(UnixTime(100.0), 5, (series,))
    assert samples_of(history, series, "drawn_w") == Samples((100, 105, 110), (1.0, None, 3.0), 5)
    assert samples_of(history, series, "inlet_c") == Samples((), (), 5)
