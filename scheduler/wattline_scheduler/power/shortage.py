"""Whom to pause or preempt where floors, or what jobs must keep, do not fit; pure.

Lowest priority first, whole gangs, as few as possible: inside a priority the smallest one that is
enough, else the one that frees most. What turns out not to be needed once a larger one had to be
taken is given back, highest priority first.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

Relief = Mapping[int, int]
"""Wall milliwatts by row."""


@dataclass(frozen=True, slots=True)
class Candidate(Generic[Key]):
    """A gang that may be paused."""

    key: Key
    """Orders those that are alike."""
    priority: int
    relief: Relief
    """What pausing it frees in each row."""


def choose(candidates: Iterable[Candidate[Key]], short_mw: Relief) -> list[Candidate[Key]]:
    """Those to pause so that every row of `short_mw` is relieved, as far as they can."""
    left = {row: mw for row, mw in short_mw.items() if mw > 0}
    pool = {one.key: one for one in candidates}
    chosen: list[Candidate[Key]] = []
    while left:
        useful = [one for one in pool.values() if any(row in left for row in one.relief)]
        if not useful:
            break
        best = min(useful, key=lambda one: (one.priority, *_fit(one.relief, left), one.key))
        chosen.append(pool.pop(best.key))
        left = _after(left, best.relief)
    return _needed(chosen, short_mw, left)


def _fit(relief: Relief, left: Relief) -> tuple[int, int]:
    """Sorts the smallest gang that covers everything first, else the one that covers most."""
    covered = sum(min(mw, relief.get(row, 0)) for row, mw in left.items())
    is_enough = covered == sum(left.values())
    return (0, sum(relief.values())) if is_enough else (1, -covered)


def _after(left: Relief, relief: Relief) -> dict[int, int]:
    return {row: mw - relief.get(row, 0) for row, mw in left.items() if mw > relief.get(row, 0)}


def _needed(
    chosen: list[Candidate[Key]], short_mw: Relief, remaining: Relief
) -> list[Candidate[Key]]:
    """Without those whose relief the others make up for."""
    spare = {
        row: sum(one.relief.get(row, 0) for one in chosen) - mw
        for row, mw in short_mw.items()
        if mw > 0
    }
    needed = list(chosen)
    for one in sorted(chosen, key=lambda one: (-one.priority, one.key)):
        helps = {row: mw for row, mw in one.relief.items() if row in spare}
        if all(spare[row] >= mw and row not in remaining for row, mw in helps.items()):
            needed.remove(one)
            for row, mw in helps.items():
                spare[row] -= mw
    return needed
