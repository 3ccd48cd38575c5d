"""Finds names by what is typed of them, in time linear in the names."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

_NUMBER = re.compile("([0-9]+)")


@lru_cache(maxsize=1 << 16)
def natural(name: str) -> tuple[str | int, ...]:
    """What names are sorted by, so that gpu-2 is before gpu-10. Cached: each picture sorts all."""
    parts = _NUMBER.split(name)
    return tuple(int(part) if at % 2 else part for at, part in enumerate(parts))


@dataclass(frozen=True, slots=True)
class Matches:
    """Things whose names match what was typed, by their positions."""

    at: tuple[int, ...]
    """The best first."""
    best: int
    """Number of the first ones that match equally well; several are ambiguous."""


def folded(names: Iterable[str]) -> str:
    """The names of one thing as they are compared: in lower case, without blanks, each between line
    ends. Empty ones do not count."""
    return "\n" + "".join(f"{_compared(name)}\n" for name in names if name)


def nearest_names(typed: str, things: Sequence[str], most: int) -> Matches:
    """Those with exactly this name, then those with one that begins with it, then with one that
    contains it, then with one that has its characters in that order. `things` are `folded`."""
    wanted = _compared(typed)
    is_exact, is_begun = f"\n{wanted}\n", f"\n{wanted}"
    exact, begins, contains, scattered = list[int](), list[int](), list[int](), list[int]()
    for at, names in enumerate(things):
        if wanted in names:
            found = exact if is_exact in names else begins if is_begun in names else contains
            found.append(at)
        elif len(scattered) < most and any(_has_in_order(one, wanted) for one in names.split()):
            scattered.append(at)
    groups = (exact, begins, contains, scattered)
    best = next((len(one) for one in groups if one), 0)
    return Matches(tuple(chain.from_iterable(groups))[:most], best)


def _has_in_order(name: str, wanted: str) -> bool:
    """By the first place of each character: a regular expression would try all of them, and names
    like `aaabbb` make that exponential."""
    at = 0
    for char in wanted:
        at = name.find(char, at) + 1
        if not at:
            return False
    return True


def _compared(name: str) -> str:
    return "".join(name.casefold().split())
