"""Lines of a panel: pieces of text, each with the role that gives it its colour.

A line is never wider than its panel: what does not fit ends in `…`. Text of users, jobs and
drivers is made visible here, so that no renderer can forget it.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Literal, get_args

from rich.cells import cell_len, set_cell_size

from wattline_protocol.text.visible import visible_line

Role = Literal[
    "",
    "muted",
    "title",
    "measured",
    "committed",
    "free",
    "limit",
    "over",
    "warning",
    "alarm",
    "cursor",
    "heat-0",
    "heat-1",
    "heat-2",
    "heat-3",
    "heat-4",
    "owner-0",
    "owner-1",
    "owner-2",
    "owner-3",
    "owner-4",
    "owner-5",
]
ROLES: tuple[Role, ...] = get_args(Role)

Piece = tuple[str, Role]
Line = tuple[Piece, ...]
"""Pieces from left to right."""

Render = Callable[[int, int], Sequence[Line]]
"""Lines for a width and a height in cells."""

CUT = "…"


def line(*pieces: str | Piece) -> Line:
    """A line of these pieces; a text alone has no role."""
    return tuple(one if isinstance(one, tuple) else (one, "") for one in pieces)


def cut(text: str, width: int) -> str:
    """Visible text of at most `width` cells; what is missing is marked."""
    text = visible_line(text)
    if width <= 0:
        return ""
    return text if cell_len(text) <= width else set_cell_size(text, width - 1) + CUT


def left(text: str, width: int) -> str:
    """Exactly `width` cells, from the left."""
    shown = cut(text, width)
    return shown + " " * (width - cell_len(shown))


def right(text: str, width: int) -> str:
    """Exactly `width` cells, at the right."""
    shown = cut(text, width)
    return " " * (width - cell_len(shown)) + shown


def width_of(of: Line) -> int:
    """Its cells."""
    return sum(cell_len(text) for text, _ in of)


def used_cells(of: Line) -> int:
    """Its cells without the blanks at its end."""
    return cell_len("".join(text for text, _ in of).rstrip())


def fitted(of: Line, width: int) -> Line:
    """The line in at most `width` cells, with neighbours of one role joined."""
    pieces = [(visible_line(text), role) for text, role in of if text]
    if width_of(tuple(pieces)) > width:
        pieces = list(_cut_at(pieces, width))
    joined = ((role, some) for role, some in groupby(pieces, itemgetter(1)))
    return tuple(("".join(text for text, _ in some), role) for role, some in joined)


def _cut_at(pieces: Iterable[Piece], width: int) -> Iterable[Piece]:
    """Pieces up to the cell before the last, which is the mark."""
    spare = width - 1
    for text, role in pieces:
        if cell_len(text) > spare:
            yield set_cell_size(text, max(0, spare)) + CUT[: max(0, width)], role
            return
        spare -= cell_len(text)
        yield text, role


def filled_to(of: Line, width: int) -> Line:
    """Exactly `width` cells."""
    shown = fitted(of, width)
    missing = width - width_of(shown)
    return (*shown, (" " * missing, "")) if missing else shown


def ends(start: Line, end: Line, width: int) -> Line:
    """One text at each end; where both do not fit, the first is cut."""
    spare = width - width_of(end)
    return (*filled_to(start, spare), *end) if spare > 0 else fitted(start, width)


def with_more(lines: Sequence[Line], above: int, below: int, width: int) -> list[Line]:
    """The lines, with the numbers of those that are out of view at the right of the first and the
    last one."""
    shown = list(lines)
    if shown and below > 0:
        shown[-1] = ends(shown[-1], ((f" ▼ {below:,} more", "title"),), width)
    if shown and above > 0:
        shown[0] = ends(shown[0], ((f" ▲ {above:,} more", "title"),), width)
    return shown
