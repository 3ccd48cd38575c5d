"""The fewest running gangs whose end frees the missing headroom of quotas.

For one limit of one quota the result is exact: the largest gangs are the fewest. If several limits
are short, each next gang is the one that covers most of what is missing, relative to it.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from wattline_scheduler.plan.model.snapshot import ENDING_PRIORITY, RunningGang
from wattline_scheduler.plan.search.quota_headroom import Held
from wattline_scheduler.power.topology.matrix import Bools, Floats, Ints


def cover(
    lacks: Mapping[int, Held], among: Sequence[RunningGang]
) -> tuple[RunningGang, ...] | None:
    """Gangs whose end covers the shortage of each quota; None = all together do not suffice.

    Gangs already ending count first. Of the others as few as possible, of the lowest sufficient
    priority, and then those with the least loss of work.
    """
    limits = [(number, at) for number, lack in lacks.items() for at in (0, 1) if lack[at]]
    need = np.array([lacks[number][at] for number, at in limits], np.int64)
    leaving = [one for one in among if one.priority == ENDING_PRIORITY]
    rest_need = need - _wins(leaving, limits).sum(axis=0)
    if (rest_need <= 0).all():
        return _fewest(leaving, _wins(leaving, limits), need)
    others = sorted((one for one in among if one.priority != ENDING_PRIORITY), key=_priority)
    enough = _least_enough(others, _wins(others, limits), rest_need)
    if enough is None:
        return None
    chosen = _fewest(enough, _wins(enough, limits), rest_need)
    return (*leaving, *chosen)


def _wins(among: Sequence[RunningGang], limits: Sequence[tuple[int, int]]) -> Ints:
    """[gang, limit] what its end releases."""
    wins: Ints = np.zeros((len(among), len(limits)), np.int64)
    for row, one in enumerate(among):
        held = one.quota_milli, one.quota_mw
        wins[row] = [held[at] if number in one.quotas else 0 for number, at in limits]
    return wins


def _priority(one: RunningGang) -> int:
    return one.priority


def _least_enough(among: Sequence[RunningGang], wins: Ints, need: Ints) -> list[RunningGang] | None:
    """All up to the lowest sufficient priority; `among` is ordered by priority."""
    enough: Bools = np.all(wins.cumsum(axis=0) >= need, axis=1)
    if not enough.any():
        return None
    top = among[int(enough.argmax())].priority
    return [one for one in among if one.priority <= top]


def _fewest(among: Sequence[RunningGang], wins: Ints, need: Ints) -> tuple[RunningGang, ...]:
    """The fewest of a sufficient set: greedily the largest gain; ties go to the least loss."""
    wins, need = wins[:, need > 0], need[need > 0]
    lost = np.array([one.lost_gpu_s for one in among])
    chosen, left = list[int](), need.copy()
    is_left = np.ones(len(among), np.bool_)
    while (left > 0).any():
        part: Floats = (np.minimum(wins, left.clip(0)) / need).sum(axis=1)
        part[~is_left] = -1.0
        best = np.flatnonzero(part == part.max())
        at = int(best[lost[best].argmin()])
        is_left[at] = False
        chosen.append(at)
        left = left - wins[at]
    chosen = _cheaper(chosen, is_left, wins, need, lost)
    return tuple(among[at] for at in chosen)


def _cheaper(chosen: list[int], is_left: Bools, wins: Ints, need: Ints, lost: Floats) -> list[int]:
    """As many gangs, each replaced by one with less loss if that still suffices."""
    spare = wins[chosen].sum(axis=0) - need
    kept = list[int]()
    for at in sorted(chosen, key=lambda at: -lost[at]):
        instead = np.flatnonzero(
            is_left & (lost < lost[at]) & (wins >= wins[at] - spare).all(axis=1)
        )
        to = int(instead[lost[instead].argmin()]) if len(instead) else at
        spare = spare + wins[to] - wins[at]
        is_left[at], is_left[to] = True, False
        kept.append(to)
    return kept
