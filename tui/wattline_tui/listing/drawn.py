"""Columns that are drawn in the width they get: curves and bars."""

from collections.abc import Callable
from dataclasses import dataclass, fields

from wattline_protocol.lists.column import Column, Row
from wattline_protocol.lists.kinds import SHARE, TEXT, Value
from wattline_tui.render.blocks import filled
from wattline_tui.render.charts import block_line
from wattline_tui.render.timeline import Samples, Span, axis

LEAST_CURVE = 12
MOST_CURVE = 120
MOST_BAR = 8


def _nothing(_row: object) -> Value:
    return None


@dataclass(frozen=True, kw_only=True)
class Drawn(Column[Row]):
    """Takes some of what others leave. It is selected and sorted by its value, as others are."""

    draw: Callable[[Row, int], str]
    head: Callable[[int], str] | None = None
    """Its heading in that width; None: the title."""
    least: int
    most: int


def curve(
    name: str,
    samples: Callable[[Row], Samples],
    span: Span,
    top: Callable[[Row], float],
    weight: int,
) -> Drawn[Row]:
    """A short history below its time axis; a character shows the largest value it stands for."""

    def draw(row: Row, width: int) -> str:
        return block_line(samples(row), span, width, top(row))

    def head(width: int) -> str:
        return axis(span, width, from_end=True)

    return Drawn(
        name,
        TEXT,
        _nothing,
        weight=weight,
        draw=draw,
        head=head,
        least=LEAST_CURVE,
        most=MOST_CURVE,
    )


def bar(
    name: str, share: Callable[[Row], float | None], text: Callable[[Row], str], weight: int
) -> Drawn[Row]:
    """How full something is, beside its figures."""
    column = Column[Row](name, SHARE, share, weight=weight)
    return barred(column, text, least=12 + MOST_BAR, most=20)


def barred(column: Column[Row], text: Callable[[Row], str], *, least: int, most: int) -> Drawn[Row]:
    """A column of shares with a bar beside its figures."""

    def draw(row: Row, width: int) -> str:
        part, figures = column.value(row), text(row)
        if not isinstance(part, int | float):
            return figures
        return f"{filled(part, width - len(figures) - 1)} {figures}"

    known = {one.name: getattr(column, one.name) for one in fields(column)}
    return Drawn(**known, draw=draw, least=least, most=most)
