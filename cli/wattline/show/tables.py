"""Listings as aligned columns without lines, which shrink on a narrow terminal."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from wattline_protocol.lists.fit import GAP, fitting, widths
from wattline_protocol.text.visible import visible, visible_line

Cell = str | Text

BETWEEN = Segment(" " * GAP)
MOST_CHARS = 8
"""Characters for each place of a cell, a letter with its marks; what is beyond is cut anyway."""


@dataclass(frozen=True)
class Column:
    """One column. `weight` 0 always stays; of the others the heaviest are dropped first."""

    title: str
    cells: Sequence[Cell]
    is_right: bool = False
    weight: int = 0
    grows: bool = False
    """Prose: takes the remaining width and is truncated with an ellipsis."""

    @cached_property
    def width(self) -> int:
        """Characters of its widest cell: measured once, as jobs may have thousands of long ones."""
        widest = max((cell_len(str(c)) for c in self.cells), default=0)
        return max(len(self.title), widest)


@dataclass(frozen=True, slots=True)
class Listing:
    """Columns of equal length; `empty` is shown when there are no rows."""

    columns: Sequence[Column]
    empty: str
    hint: str = ""
    """What shows the columns and texts that are left out."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self.columns[0].cells:
            yield Text(self.empty)
            return
        shown = fitting(self.columns, options.max_width)
        wide = widths(shown, options.max_width)
        titles = [Text(c.title, "bold") for c in shown]
        for row in (titles, *zip(*(column.cells for column in shown), strict=True)):
            for at, (column, cell) in enumerate(zip(shown, row, strict=True)):
                if at:
                    yield BETWEEN
                yield from _segments(console, cell, wide[at], is_right=column.is_right)
            yield Segment.line()
        cut = [c.title for c, width in zip(shown, wide, strict=True) if c.width > width]
        if note := self._left_out([c.title for c in self.columns if c not in shown], cut):
            yield Text(note, "dim")

    def _left_out(self, omitted: Sequence[str], cut: Sequence[str]) -> str:
        """What does not fit; empty = all does."""
        parts = [f"Not shown at this width: {', '.join(omitted)}."] if omitted else []
        if cut and self.hint:
            parts.append(f"Cut at …: {', '.join(cut)}.")
        return " ".join([*parts, self.hint]) if parts and self.hint else " ".join(parts)


def _segments(console: Console, cell: Cell, width: int, *, is_right: bool) -> Iterable[Segment]:
    """One cell in exactly `width` characters. A table of Rich takes ten times as long, which adds
    up to seconds for a queue of thousands."""
    if isinstance(cell, Text):
        cell = cell.copy()
        cell.truncate(width, overflow="ellipsis")
        cell.align("right" if is_right else "left", width)
        return cell.render(console)
    plain = visible_line(cell[: width * MOST_CHARS])
    wide = cell_len(plain)
    if wide > width:
        plain, wide = set_cell_size(plain, width - 1) + "…", width
    blanks = " " * (width - wide)
    return (Segment(blanks + plain if is_right else plain + blanks),)


def facts(pairs: Sequence[tuple[str, Cell]]) -> Table:
    """Names and values of one object, one a line."""
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        lines = value if isinstance(value, Text) else Text(visible(value))
        table.add_row(name, lines)
    return table
