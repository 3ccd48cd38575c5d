"""Charts over one axis: scales, limits, labels, and what does not fit."""

from rich.cells import cell_len

from wattline_tui.render.charts import Chart, block_line, chart_lines
from wattline_tui.render.lines import Line
from wattline_tui.render.timeline import Samples, Span

SPAN = Span(0.0, 60.0)
RISING = Samples(tuple(range(0, 60, 10)), (0.0, 20.0, 40.0, 60.0, 80.0, 100.0), hold_s=10)
LIMIT = Samples((0,), (75.0,), hold_s=60)


def texts(lines: list[Line]) -> list[str]:
    return ["".join(text for text, _ in one) for one in lines]


def test_a_chart_is_drawn_from_the_bottom_and_its_limit_where_it_is_free() -> None:
    chart = Chart(("w", "t"), RISING, 0.0, 100.0, LIMIT)
    assert texts(chart_lines([chart], SPAN, 8, 5, from_end=True)) == [
        "w     ▂█",
        "t ───▄██",
        "    ▅███",
        "  ▁▇████",
        "    ╵now",
    ]


def test_the_least_value_shows_and_a_gap_does_not() -> None:
    assert block_line(RISING, SPAN, 6, 100.0) == "▁▂▄▅▇█"
    assert block_line(Samples((0, 30), (0.0, 0.0)), SPAN, 6, 100.0) == "▁  ▁  "


def test_a_value_that_does_not_change_is_a_line() -> None:
    flat = Samples(tuple(range(0, 60, 10)), (5.0,) * 6, hold_s=10)
    (row, _) = texts(chart_lines([Chart(("a",), flat, 5.0, 5.0)], SPAN, 8, 2, from_end=True))
    assert row == "a ▄▄▄▄▄▄"


def test_values_beyond_the_scale_stay_within_it() -> None:
    wild = Samples((0, 30), (-1e9, 1e9), hold_s=30)
    (row, _) = texts(chart_lines([Chart(("a",), wild, 0.0, 1.0)], SPAN, 8, 2, from_end=True))
    assert row == "a ▁▁▁███"


def test_charts_that_do_not_fit_are_counted() -> None:
    charts = [Chart((f"m{number}",), RISING, 0.0, 100.0) for number in range(9)]
    lines = texts(chart_lines(charts, SPAN, 40, 4, from_end=False))
    assert len(lines) == 4
    assert [one[:2] for one in lines] == ["m0", "m1", "m2", "  "]
    assert lines[2].endswith("▼ 6 more")
    (only,) = texts(chart_lines(charts, SPAN, 40, 1, from_end=False))
    assert only.startswith("m0")
    assert only.endswith("▼ 8 more")


def test_a_figure_of_a_label_is_whole_beside_a_narrow_chart() -> None:
    chart = Chart(("node 5.64 kW", "lease 5.05 kW"), RISING, 0.0, 100.0)
    lines = texts(chart_lines([chart], SPAN, 36, 4, from_end=True))
    assert lines[1].startswith("lease 5.05 kW ")


def test_no_line_is_wider_than_its_place() -> None:
    charts = [Chart(("a very long name of a metric that someone chose",), RISING, 0.0, 1.0)] * 3
    for width in (10, 24, 80):
        for one in texts(chart_lines(charts, SPAN, width, 12, from_end=True)):
            assert cell_len(one) <= width
