"""Selects gangs to pause or preempt where floors or useful caps do not fit; pure.

Lowest priority first, whole gangs, as few as possible: within a priority the smallest gang that is
sufficient, else the one that frees most. Gangs made redundant by a later, larger choice are dropped
again, highest priority first.
"""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar


class Ordered(Protocol):
    """Sortable keys, which make every choice deterministic."""

    def __lt__(self, other: Any, /) -> bool: ...


Key = TypeVar("Key", bound=Ordered)

Relief = Mapping[int, int]
"""Wall milliwatts by row."""


@dataclass(frozen=True, slots=True)
class Candidate(Generic[Key]):
    """A gang that may be paused."""

    key: Key
    """Tie-breaker among equal candidates."""
    priority: int
    relief: Relief
    """Watts freed in each row by pausing it."""


def choose(candidates: Iterable[Candidate[Key]], short_mw: Relief) -> list[Candidate[Key]]:
    """Candidates to pause so that every row of `short_mw` is relieved, as far as possible."""
    left = {row: mw for row, mw in short_mw.items() if mw > 0}
    by_priority: dict[int, list[Candidate[Key]]] = {}
    for one in candidates:
        by_priority.setdefault(one.priority, []).append(one)
    chosen: list[Candidate[Key]] = []
    for priority in sorted(by_priority):
        if left:
            left = _take(by_priority[priority], left, chosen)
    return _needed(chosen, short_mw, left)


def _take(
    pool: list[Candidate[Key]], left: dict[int, int], chosen: list[Candidate[Key]]
) -> dict[int, int]:
    """Add candidates of one priority to `chosen`; returns the remaining shortfall.

    A gang's contribution only falls as others are chosen, so the heap's top, once updated, is the
    largest: choosing from thousands takes a fraction of a second (lazy greedy, Minoux 1978).
    """
    heap = [(-_covered(one.relief, left), one.key, one) for one in pool]
    heapq.heapify(heap)
    while left and heap:
        known, key, best = heap[0]
        covered = _covered(best.relief, left)
        if not covered:
            heapq.heappop(heap)
        elif covered < -known:
            heapq.heapreplace(heap, (-covered, key, best))
        elif covered == sum(left.values()):
            rest = (one for _, _, one in heap if _covered(one.relief, left) == covered)
            chosen.append(min(rest, key=lambda one: (sum(one.relief.values()), one.key)))
            return {}
        else:
            heapq.heappop(heap)
            chosen.append(best)
            left = _after(left, best.relief)
    return left


def _covered(relief: Relief, left: Relief) -> int:
    return sum(min(mw, left[row]) for row, mw in relief.items() if row in left)


def _after(left: Relief, relief: Relief) -> dict[int, int]:
    return {row: mw - relief.get(row, 0) for row, mw in left.items() if mw > relief.get(row, 0)}


def _needed(
    chosen: list[Candidate[Key]], short_mw: Relief, remaining: Relief
) -> list[Candidate[Key]]:
    """Drop candidates whose relief the others already provide."""
    spare = {
        row: sum(one.relief.get(row, 0) for one in chosen) - mw
        for row, mw in short_mw.items()
        if mw > 0
    }
    spared: set[Key] = set()
    for one in sorted(chosen, key=lambda one: (-one.priority, one.key)):
        helps = {row: mw for row, mw in one.relief.items() if row in spare}
        if all(spare[row] >= mw and row not in remaining for row, mw in helps.items()):
            spared.add(one.key)
            for row, mw in helps.items():
                spare[row] -= mw
    return [one for one in chosen if one.key not in spared]
