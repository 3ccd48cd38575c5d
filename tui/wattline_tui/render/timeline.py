"""Values over time as cells, with one time axis for nodes and jobs. Pure.

A cell stands for an equal part of the span shown, and has the largest value within it: a short peak
stays visible. Labels are ages, or times since the start, and never times of day: no time zone and
no daylight saving time moves a point.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wattline_protocol.views.history_views import History, Series

Cell = float | None
"""None = no reading."""

TICK_STEPS_S = (
    *(1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1_800),
    *(3_600, 7_200, 10_800, 21_600, 43_200),
    *(86_400, 172_800, 604_800, 1_209_600),
)
TICK_CELLS = 9, 16
"""Between two labels, least and most: five labels or so in a width."""
TICK = "╵"
NOW = "now"


@dataclass(frozen=True, slots=True)
class Span:
    """The time shown, in seconds since any origin."""

    begin_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        """Above 0."""
        return max(1e-9, self.end_s - self.begin_s)

    def cell(self, at_s: float, width: int) -> int:
        """The cell of a moment within it."""
        return min(width - 1, int((at_s - self.begin_s) / self.length_s * width))


@dataclass(frozen=True, slots=True)
class Samples:
    """Readings of one value. None ends what was read before."""

    times_s: Sequence[float] = ()
    values: Sequence[Cell] = ()
    hold_s: float = 0.0
    """A value stands until the next one, for at most this long."""

    @property
    def known(self) -> list[float]:
        """Without the gaps."""
        return [value for value in self.values if value is not None]


NO_SAMPLES = Samples()


def samples_of(history: History, series: Series, column: str) -> Samples:
    """One column of a history."""
    values = series.columns.get(column, ())
    times = tuple(history.since_unix_s + at * history.step_s for at in range(len(values)))
    return Samples(times, values, history.step_s)


def cells(samples: Samples, span: Span, width: int) -> list[Cell]:
    """The largest value in each of `width` cells.

    Samples may come in any order (a clock was set back). One outside of the span is not shown, but
    holds into it.
    """
    found: list[Cell] = [None] * max(0, width)
    if width <= 0:
        return found
    ordered = sorted(zip(samples.times_s, samples.values, strict=True), key=lambda one: one[0])
    for at, (time_s, value) in enumerate(ordered):
        if value is None:
            continue
        following_s = ordered[at + 1][0] if at + 1 < len(ordered) else math.inf
        until_s = min(following_s, time_s + samples.hold_s)
        _put(found, value, time_s, until_s, span)
    return found


def _put(found: list[Cell], value: float, from_s: float, until_s: float, span: Span) -> None:
    """Into the cells from one moment on, up to another, which is not among them."""
    if from_s > span.end_s or max(from_s, until_s) < span.begin_s:
        return
    width = len(found)
    first = span.cell(max(from_s, span.begin_s), width)
    last = max(first, math.ceil((until_s - span.begin_s) / span.length_s * width) - 1)
    for cell in range(first, min(last, width - 1) + 1):
        before = found[cell]
        found[cell] = value if before is None else max(before, value)


def axis(span: Span, width: int, *, from_end: bool) -> str:
    """Labels below the cells: ages up to `now`, or times since the start."""
    apart = min(TICK_CELLS[1], max(TICK_CELLS[0], width // 5))
    step_s = _step_s(span.length_s / max(1, width) * apart)
    count = int(span.length_s // step_s)
    offsets = (number * step_s for number in range(count + 1))
    if not from_end:
        return _labelled(
            ((span.cell(span.begin_s + one, width), _short(one)) for one in offsets), width
        )
    ages = [one for one in offsets if one > 0]
    ticks = [(span.cell(span.end_s - one, width), f"-{_short(one)}") for one in reversed(ages)]
    return _labelled([*ticks, (width - len(NOW) - 1, NOW)], width)


def _step_s(least_s: float) -> float:
    fitting = (step_s for step_s in TICK_STEPS_S if step_s >= least_s)
    longest_s = TICK_STEPS_S[-1]
    return next(fitting, math.ceil(least_s / longest_s) * longest_s)


def _labelled(ticks: Iterable[tuple[int, str]], width: int) -> str:
    """Those that have room, from left to right."""
    line = ""
    for cell, label in ticks:
        text = f"{TICK}{label}"
        if cell >= len(line) + bool(line) and 0 <= cell <= width - len(text):
            line = line.ljust(cell) + text
    return line.ljust(max(0, width))


def _short(seconds: float) -> str:
    """`0`, `45s`, `15m`, `2h`, `1h30m`, `3d`, `1d06h`."""
    whole_s = round(seconds)
    for unit_s, unit, part_s, part in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if whole_s >= unit_s:
            rest = whole_s % unit_s // part_s
            return f"{whole_s // unit_s}{unit}" + (f"{rest:02d}{part}" if rest else "")
    return f"{whole_s}s" if whole_s else "0"
