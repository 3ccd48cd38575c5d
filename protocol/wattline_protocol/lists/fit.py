"""Which columns fit into a width."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

GAP = 2
"""Characters between two columns."""

GROWING_LEAST = 24
"""A column of prose gets at least this much; then columns are omitted."""


class Wide(Protocol):
    """A column whose cells are known."""

    @property
    def width(self) -> int:
        """Characters of its widest cell."""
        ...

    @property
    def weight(self) -> int:
        """0 always stays; of the others the heaviest are omitted first."""
        ...

    @property
    def grows(self) -> bool:
        """Prose: takes the remaining width."""
        ...


W = TypeVar("W", bound=Wide)


def fitting(columns: Sequence[W], width: int) -> list[W]:
    """The columns that fit in `width` characters, in their order; weight 0 stays in any case."""
    shown = list(columns)
    while _needed(shown) > width:
        heaviest = max(shown, key=lambda column: column.weight)
        if heaviest.weight == 0:
            break
        shown.remove(heaviest)
    return shown


def widths(shown: Sequence[Wide], width: int) -> list[int]:
    """Of each column that is shown: as wide as its cells, those of prose no wider than is left."""
    fixed = sum(one.width for one in shown if not one.grows) + GAP * (len(shown) - 1)
    left = max(GROWING_LEAST, width - fixed)
    return [min(one.width, left) if one.grows else one.width for one in shown]


def _needed(columns: Sequence[Wide]) -> int:
    least = (min(one.width, GROWING_LEAST) if one.grows else one.width for one in columns)
    return sum(least) + GAP * (len(columns) - 1)


def filled(usual: Sequence[W], more: Sequence[W], width: int) -> list[W]:
    """What fits of `usual`, and of `more` what then still does, the lightest first."""
    shown = fitting(usual, width)
    if len(shown) < len(usual):
        return shown
    left = width - sum(one.width for one in shown) - GAP * (len(shown) - 1)
    for one in sorted(more, key=lambda column: column.weight):
        left -= one.width + GAP
        if left < 0:
            break
        shown.append(one)
    return shown
