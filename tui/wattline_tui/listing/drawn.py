"""Columns that are drawn in the width they get: curves and bars."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wattline_protocol.lists.column import Column, Row
from wattline_protocol.lists.kinds import SHARE, TEXT, Value
from wattline_tui.widgets.sparkline import spark

EIGHTHS = " ▏▎▍▌▋▊▉█"
MOST_CURVE = 120
MOST_BAR = 8


def _nothing(_row: object) -> Value:
    return None


@dataclass(frozen=True, kw_only=True)
class Drawn(Column[Row]):
    """Takes some of what others leave. It is selected and sorted by its value, as others are."""

    draw: Callable[[Row, int], str]
    least: int
    most: int


def curve(
    name: str,
    values: Callable[[Row], Sequence[float]],
    top: Callable[[Row], float],
    title: str,
    weight: int,
) -> Drawn[Row]:
    """A short history, the newest on the right; a character shows the largest it stands for."""

    def draw(row: Row, width: int) -> str:
        return f"{spark(values(row), width, top(row)):>{width}}"

    return Drawn(name, TEXT, _nothing, title, weight=weight, draw=draw, least=12, most=MOST_CURVE)


def bar(
    name: str, share: Callable[[Row], float | None], text: Callable[[Row], str], weight: int
) -> Drawn[Row]:
    """How full something is, beside its figures."""

    def draw(row: Row, width: int) -> str:
        part, figures = share(row), text(row)
        if part is None:
            return ""
        return f"{filled(part, width - len(figures) - 1)} {figures}"

    return Drawn(name, SHARE, share, weight=weight, draw=draw, least=12 + MOST_BAR, most=20)


def filled(part: float, width: int) -> str:
    """A bar of eighths of a character."""
    eighths = round(min(1.0, max(0.0, part)) * 8 * max(0, width))
    full, rest = divmod(eighths, 8)
    return ("█" * full + (EIGHTHS[rest] if rest else "")).ljust(max(0, width))
