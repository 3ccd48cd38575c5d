"""Finds names by what is typed of them, in time linear in the names."""

import re
from collections.abc import Sequence

_NUMBER = re.compile("([0-9]+)")


def natural(name: str) -> tuple[str | int, ...]:
    """What names are sorted by, so that gpu-2 is before gpu-10."""
    parts = _NUMBER.split(name)
    return tuple(int(part) if at % 2 else part for at, part in enumerate(parts))


def nearest_names(typed: str, names: Sequence[str], most: int) -> list[int]:
    """Positions in `names`, which are in lower case: those that begin with it, then those that
    contain it, then those that have its characters in that order."""
    wanted = "".join(typed.casefold().split())
    if not wanted:
        return list(range(min(most, len(names))))
    begins, contains, scattered = list[int](), list[int](), list[int]()
    for at, name in enumerate(names):
        if name.startswith(wanted):
            begins.append(at)
        elif wanted in name:
            contains.append(at)
        elif len(begins) + len(contains) + len(scattered) < most and _has_in_order(wanted, name):
            scattered.append(at)
    return [*begins, *contains, *scattered][:most]


def _has_in_order(wanted: str, name: str) -> bool:
    rest = iter(name)
    return all(char in rest for char in wanted)
