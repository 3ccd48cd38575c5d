"""Finds names by what is typed of them, in time linear in the names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

_NUMBER = re.compile("([0-9]+)")


def natural(name: str) -> tuple[str | int, ...]:
    """What names are sorted by, so that gpu-2 is before gpu-10."""
    parts = _NUMBER.split(name)
    return tuple(int(part) if at % 2 else part for at, part in enumerate(parts))


@dataclass(frozen=True, slots=True)
class Matches:
    """What the things are named like that were typed, by their positions."""

    at: tuple[int, ...]
    """The best first."""
    best: int
    """So many of the first ones match equally well: more than one is ambiguous."""


def folded(name: str) -> str:
    """A name as it is compared: in lower case, without blanks."""
    return "".join(name.casefold().split())


def nearest_names(typed: str, names: Sequence[Sequence[str]], most: int) -> Matches:
    """Those with exactly this name, then those with one that begins with it, then with one that
    contains it, then with one that has its characters in that order. `names` are `folded`: one or
    more of each thing."""
    wanted = folded(typed)
    exact, begins, contains, scattered = list[int](), list[int](), list[int](), list[int]()
    for at, own in enumerate(names):
        if wanted in own:
            exact.append(at)
        elif any(name.startswith(wanted) for name in own):
            begins.append(at)
        elif any(wanted in name for name in own):
            contains.append(at)
        elif len(scattered) < most and any(_has_in_order(wanted, name) for name in own):
            scattered.append(at)
    found = (exact, begins, contains, scattered)
    best = next((len(one) for one in found if one), 0)
    return Matches(tuple(chain.from_iterable(found))[:most], best)


def _has_in_order(wanted: str, name: str) -> bool:
    rest = iter(name)
    return all(char in rest for char in wanted)
