"""Charts over one time axis, one below the other. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from wattline_tui.render.blocks import BLOCKS
from wattline_tui.render.lines import Line, Piece, Role, left, line, with_more
from wattline_tui.render.timeline import NO_SAMPLES, Cell, Samples, Span, axis, cells

EIGHTHS = len(BLOCKS) - 1
LIMIT = "─"
MOST_ROWS = 8
"""Of each chart, where there are several."""
LEAST_LABEL, MOST_LABEL = 14, 26
"""Characters for labels: a third of the width, within these where half of it allows."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One value over time."""

    label: Sequence[str]
    """Beside it: one line for each row that it gets, from the top."""
    samples: Samples
    low: float
    """At its bottom."""
    top: float
    limit: Samples = NO_SAMPLES
    """A line across it."""
    role: Role = "measured"


def block_line(samples: Samples, span: Span, width: int, top: float) -> str:
    """A chart of one row: the least value read has the lowest block."""
    levels = [_level(value, 0.0, top, 1) for value in cells(samples, span, width)]
    return "".join(BLOCKS[one] for one in levels)


def chart_lines(
    charts: Sequence[Chart], span: Span, width: int, height: int, *, from_end: bool
) -> list[Line]:
    """All charts that have room, and the axis below them."""
    longest = max((len(text) for chart in charts for text in chart.label), default=0)
    gutter = min(longest, MOST_LABEL, max(width // 3, min(width // 2, LEAST_LABEL)))
    spare = height - 1
    shown = charts[: max(1, spare)]
    most = spare if len(charts) == 1 else MOST_ROWS
    rows = max(1, min(most, spare // max(1, len(shown))))
    lines = [one for chart in shown for one in _rows(chart, span, (gutter, width), rows)]
    lines = with_more(lines[: max(1, spare)], 0, len(charts) - len(shown), width)
    if spare > 0:
        ticks = axis(span, width - gutter - 1, from_end=from_end)
        lines.append(line(" " * (gutter + 1), (ticks, "muted")))
    return lines


def _rows(chart: Chart, span: Span, widths: tuple[int, int], rows: int) -> list[Line]:
    gutter, width = widths
    drawn, limit = (
        [
            _level(value, chart.low, chart.top, rows)
            for value in cells(one, span, width - gutter - 1)
        ]
        for one in (chart.samples, chart.limit)
    )
    labels = [*chart.label[:rows], *[""] * (rows - len(chart.label))]
    return [
        line(left(label, gutter), " ", *_row(drawn, limit, rows - 1 - at, chart.role))
        for at, label in enumerate(labels)
    ]


def _row(drawn: Sequence[int], limit: Sequence[int], row: int, role: Role) -> list[Piece]:
    """One row of a chart, the bottom one is 0; the limit shows where no block is."""
    pieces: list[Piece] = []
    for level, limit_level in zip(drawn, limit, strict=True):
        block = BLOCKS[max(0, min(EIGHTHS, level - EIGHTHS * row))]
        is_limit = limit_level > 0 and (limit_level - 1) // EIGHTHS == row
        pieces.append((LIMIT, "limit") if block == " " and is_limit else (block, role))
    return pieces


def _level(value: Cell, low: float, top: float, rows: int) -> int:
    """In eighths of a row, from 1; 0 = nothing was read."""
    if value is None:
        return 0
    most = EIGHTHS * rows
    if top <= low:
        return EIGHTHS // 2
    return 1 + round(min(1.0, max(0.0, (value - low) / (top - low))) * (most - 1))
