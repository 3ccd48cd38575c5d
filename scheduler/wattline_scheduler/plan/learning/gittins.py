"""Learned run times per kind of job, and the Gittins index of a job.

The index of a job after some time on its GPUs is the minimum, over all quanta, of (expected GPU
time within the quantum) / (chance to end within it): the cost of one more completion. Serving the
lowest index first minimises mean completion time if only the distribution of run times is known
(Gittins 1979; for clusters Gu et al., NSDI 2019).

Time on GPUs is divided into bins of growing length; learned is the chance to end inside a bin for a
job that reached it. So a running job contributes as well: it survived its bins (Kaplan and Meier
1958). A narrow group with few runs is smoothed towards the wider one, and all towards a
distribution that is flat over the logarithm of time, under which the index grows with the time on
GPUs: while nothing is known, the job with the least time goes first.

All jobs together are counted by time and GPUs, as wide jobs run shorter (2D-Gittins counts
GPU-time: Gu et al., NSDI 2019); the groups of a job, which have one size, by time.

What is served last is learned last, and would stay last for being unknown: so the widest group of a
job, that of its account and size, uses the upper confidence bound of its chances (optimism in the
face of uncertainty: Lai and Robbins 1985), which falls as jobs run.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from math import log1p, log2
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FIRST_S = 600.0
"""The first bin: shorter runs are not distinguished."""

PER_OCTAVE = 2
BINS = 1 + 16 * PER_OCTAVE
"""The last bin ends after more than a year."""

LEAN_ALL, LEAN_WIDE, LEAN_NARROW = 2.0, 1.0, 0.2
"""Number of own jobs at which a group weighs as much as its prior: all jobs, the widest group of a
job, and the narrower ones, where few jobs tell much."""

HOPE = 1.5
"""Standard deviations between a learned chance and its upper bound."""

HOPED = 0
"""The group that uses the bound. Applied to the narrowest too, it would favour all that is new."""

NEWS = 12.0
"""Steps per e-fold of a group's knowledge at which its indices are recomputed."""

SHORTER = 1.5
"""A job of twice as many GPUs is assumed, among all jobs, to run half as long to this power; 1
would be equal GPU-time."""

MAX_GROUPS = 8192
"""Beyond it, the least recently updated group is dropped."""

MAX_INDICES = 2 * MAX_GROUPS
"""Beyond it, all indices are dropped. A queue has fewer kinds of known runtime; with more of them,
each plan would compute all indices again."""

_EDGES_S = np.concatenate([[0.0], FIRST_S * 2.0 ** (np.arange(BINS) / PER_OCTAVE)])
_WIDTHS_S = np.diff(_EDGES_S)
_MOST_WIDER = 16 * PER_OCTAVE
_FLAT = 1.0 / np.arange(BINS + _MOST_WIDER, 0, -1)
_BEHIND = np.tril(np.ones((BINS, BINS), dtype=bool), -1)


class Groups(NamedTuple):
    """The groups of a job, beside all jobs."""

    wider: int
    """Bins between its time on GPUs and the equivalent time among all jobs."""
    names: tuple[Hashable, ...]
    """Widest first."""


def alike(gpus: int, *names: Hashable) -> Groups:
    """Groups of a job with this many GPUs; a job without GPUs counts as one."""
    wider = round(PER_OCTAVE * SHORTER * log2(max(1, gpus)))
    return Groups(min(_MOST_WIDER, wider), names)


def bin_of(held_s: float) -> int:
    """The bin of a time on GPUs."""
    if held_s < FIRST_S:
        return 0
    return min(BINS - 1, 1 + int(PER_OCTAVE * log2(held_s / FIRST_S)))


@dataclass(slots=True)
class _Group:
    ends: Floats = field(default_factory=lambda: np.zeros(BINS))
    survivals: Floats = field(default_factory=lambda: np.zeros(BINS))
    known: float = 0.0
    news: int = 0

    @property
    def reached(self) -> Floats:
        return self.ends + self.survivals

    def survived(self, first: int, last: int) -> bool:
        """True: its indices are to be computed again; so of all that teaches it."""
        self.survivals[first:last] += 1.0
        return self.learned(last - first)

    def ended(self, at: int) -> bool:
        self.ends[at] += 1.0
        return self.learned(1.0)

    def learned(self, more: float) -> bool:
        self.known += more
        before, self.news = self.news, int(log1p(self.known) * NEWS)
        return self.news != before

    def chance(self, else_: Floats, lean: float) -> Floats:
        """Chance to end in each bin; `else_` where little is known."""
        return (self.ends + lean * else_) / (self.reached + lean)


_NOTHING = _Group()


class _All:
    """All jobs, by time and GPUs. A wide job's first bin of time covers several bins here."""

    def __init__(self) -> None:
        self.group = _Group(np.zeros(len(_FLAT)), np.zeros(len(_FLAT)))

    def survived(self, wider: int, first: int, last: int) -> bool:
        return self.group.survived(first + wider if first else 0, last + wider)

    def ended(self, wider: int, at: int) -> bool:
        if at:
            return self.group.ended(at + wider)
        parts = wider + 1  # in any of these bins with equal probability
        self.group.ends[:parts] += 1.0 / parts
        self.group.survivals[:parts] += np.arange(wider, -1, -1) / parts
        return self.group.learned(1.0)

    def chance(self, wider: int) -> Floats:
        """Chance to end in each bin of time."""
        chance = self.group.chance(_FLAT, LEAN_ALL)
        first = 1.0 - np.prod(1.0 - chance[: wider + 1])
        return np.concatenate([[first], chance[wider + 1 : wider + BINS]])


class Runtimes:
    """Chances to end, by group."""

    def __init__(self) -> None:
        self._all = _All()
        self._groups: dict[Hashable, _Group] = {}
        self._indices: dict[Groups, list[float]] = {}
        """Of groups of which little was learned since."""
        self._with: dict[Hashable, set[Groups]] = {}
        """Those of `_indices` with a group of that name."""

    def survived(self, groups: Groups, first: int, last: int) -> None:
        """Record that a job passed the bins from `first` to before `last` without an end."""
        if self._all.survived(groups.wider, first, last):
            self._forget_all()
        for name, group in self._of(groups):
            if group.survived(first, last):
                self._forget(name)

    def ended(self, groups: Groups, at: int) -> None:
        """Record that a job ended by itself inside a bin."""
        if self._all.ended(groups.wider, at):
            self._forget_all()
        for name, group in self._of(groups):
            if group.ended(at):
                self._forget(name)

    def _of(self, groups: Groups) -> list[tuple[Hashable, _Group]]:
        found = []
        for name in groups.names:
            group = self._groups.pop(name, None) or _Group()
            self._groups[name] = group
            found.append((name, group))
        while len(self._groups) > MAX_GROUPS:
            dropped = next(iter(self._groups))
            del self._groups[dropped]
            self._forget(dropped)
        return found

    def _forget(self, name: Hashable) -> None:
        """Indices that follow from this group are to be computed again."""
        for groups in self._with.pop(name, ()):
            del self._indices[groups]
            for other in groups.names:
                if other in self._with:
                    self._with[other].discard(groups)

    def _forget_all(self) -> None:
        self._indices.clear()
        self._with.clear()

    def index_s(self, groups: Groups, held_s: float) -> float:
        """Expected seconds on GPUs per completion, for a job with this time on its GPUs."""
        known = self._indices.get(groups)
        if known is None:
            known = self._computed(groups)
        return known[bin_of(held_s)]

    def _computed(self, groups: Groups) -> list[float]:
        """The index in each bin."""
        if max(len(self._indices), len(self._with)) > MAX_INDICES:
            self._forget_all()
        known = [self._groups.get(name, _NOTHING) for name in groups.names]
        chance = self._all.chance(groups.wider)
        for place, group in enumerate(known):
            chance = group.chance(chance, LEAN_NARROW if place else LEAN_WIDE)
            if place == HOPED:
                chance = _upper_end(chance, group.reached)
        made = self._indices[groups] = _indices(chance)
        for name in groups.names:
            self._with.setdefault(name, set()).add(groups)
        return made


def _upper_end(chance: Floats, reached: Floats) -> Floats:
    """Upper bound of each chance, by the number of jobs that reached its bin."""
    deviation = np.sqrt(chance * (1.0 - chance) / (reached + LEAN_WIDE))
    return np.minimum(1.0, chance + HOPE * deviation)


def _indices(chance: Floats) -> list[float]:
    """Convert the chance to end in each bin to the index at its beginning. A job that ends inside a
    bin counts half of it."""
    stays = _shifted(1.0, np.cumprod(1.0 - chance))
    left = np.maximum(stays, 1e-12)
    ends = left * chance
    spent = np.cumsum((left - ends / 2) * _WIDTHS_S)
    ended = np.cumsum(ends)
    spent_from = spent - _shifted(0.0, spent)[:, None]
    ended_from = ended - _shifted(0.0, ended)[:, None]
    ratio = spent_from / np.maximum(ended_from, 1e-15)
    ratio[_BEHIND] = np.inf
    least: list[float] = ratio.min(axis=1).tolist()
    return least


def _shifted(first: float, values: NDArray[np.floating[Any]]) -> Floats:
    """One place later, without the last."""
    shifted = np.empty(len(values))
    shifted[0], shifted[1:] = first, values[:-1]
    return shifted
