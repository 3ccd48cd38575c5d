"""Level at which each row is full: roots of rising, piecewise linear functions, vectorised.

Newton's method, kept inside a shrinking bracket by the chord and the midpoint. Solved rows leave
the arrays, so that the last few cost little.
"""

from dataclasses import dataclass

import numpy as np

from wattline_scheduler.power.topology.matrix import Bools, Floats, Ints

TOLERANCE_MW = 0.05
"""Gap within which a row counts as full; the allocator reserves a milliwatt for it."""

RELATIVE = 1e-12
"""Additional tolerance relative to the row: rounding of sums of floats."""

MAX_STEPS = 60
"""Bisection alone would be exact by then."""

WORTH_NARROWING = 4
"""Arrays are narrowed once one row in so many is solved."""


def slack_mw(left_mw: Floats) -> Floats:
    """Gap within which a row of `left_mw` counts as full."""
    return TOLERANCE_MW + RELATIVE * left_mw


class Curves:
    """Per group, the wall milliwatts that its GPUs use at a level."""

    def __init__(self, start: Floats, width: Floats, slope: Floats, counts: Ints) -> None:
        """One entry per GPU, by group: begins to rise at `start`, for `width`, with `slope`."""
        self._start, self._width, self._slope = start, width, slope
        self._counts = counts
        self._first = np.cumsum(counts) - counts

    def part(self, groups: Bools) -> "Curves":
        """The curves of these groups only."""
        if groups.all():
            return self
        gpus = np.flatnonzero(np.repeat(groups, self._counts))
        return Curves(self._start[gpus], self._width[gpus], self._slope[gpus], self._counts[groups])

    def top(self) -> Floats:
        """Level at which each group uses its maximum."""
        return np.maximum.reduceat(self._start + self._width, self._first)

    def used(self, level: Floats) -> Floats:
        """Use of each group at its level."""
        return np.add.reduceat(self._risen(level), self._first)

    def used_and_growth(self, level: Floats) -> tuple[Floats, Floats]:
        """Use of each group at its level, and its derivative by the level."""
        risen = self._risen(level)
        growth = np.where((risen > 0.0) & (risen < self._width * self._slope), self._slope, 0.0)
        return np.add.reduceat(risen, self._first), np.add.reduceat(growth, self._first)

    def _risen(self, level: Floats) -> Floats:
        risen = np.repeat(level, self._counts)
        risen -= self._start
        np.maximum(risen, 0.0, out=risen)
        np.minimum(risen, self._width, out=risen)
        risen *= self._slope
        return risen


@dataclass(slots=True)
class _Search:
    """Unsolved rows. The first four are fixed, with one entry per group."""

    curves: Curves
    at: Ints
    """Position of the group's row below."""
    share: Floats
    others: Floats
    """Level at which other rows stop the group."""
    number: Ints
    """Per row, its position in the result."""
    want_mw: Floats
    low: Floats
    low_mw: Floats
    high: Floats
    high_mw: Floats
    level: Floats
    """The next guess."""

    def step(self, even: bool) -> Bools:
        """Evaluate the guesses and make new ones; returns which rows are solved."""
        mine = self.level[self.at]
        used, growth = self.curves.used_and_growth(np.minimum(mine, self.others))
        count = len(self.number)
        sums = np.bincount(self.at, self.share * used, count)
        grows = np.where(mine <= self.others, self.share * growth, 0.0)
        slope = np.bincount(self.at, grows, count).astype(np.float64, copy=False)
        missing = self.want_mw - sums
        found: Bools = np.abs(missing) <= slack_mw(self.want_mw)
        is_low = missing >= 0.0
        self.low, self.high = (
            np.where(is_low, self.level, self.low),
            np.where(is_low, self.high, self.level),
        )
        self.low_mw, self.high_mw = (
            np.where(is_low, sums, self.low_mw),
            np.where(is_low, self.high_mw, sums),
        )
        self.level = np.where(found, self.level, self._guess(missing, slope, even))
        return found

    def _guess(self, missing: Floats, slope: Floats, even: bool) -> Floats:
        """Newton's step if it stays inside the bracket, else the midpoint or the chord."""
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = self.level + missing / slope
        inside = (newton > self.low) & (newton < self.high)
        part = 0.5 if even else chord(self.want_mw, self.low_mw, self.high_mw)
        return np.where(inside, newton, self.low + (self.high - self.low) * part)

    def narrowed(self, rows: Bools) -> "_Search":
        """The search restricted to these rows."""
        groups = rows[self.at]
        return _Search(
            curves=self.curves.part(groups),
            at=(np.cumsum(rows) - 1)[self.at[groups]],
            share=self.share[groups],
            others=self.others[groups],
            number=self.number[rows],
            want_mw=self.want_mw[rows],
            low=self.low[rows],
            low_mw=self.low_mw[rows],
            high=self.high[rows],
            high_mw=self.high_mw[rows],
            level=self.level[rows],
        )


def chord(want_mw: Floats, low_mw: Floats, high_mw: Floats) -> Floats:
    """Where a straight line across the bracket meets `want_mw`, as a share of it."""
    return (want_mw - low_mw) / np.maximum(high_mw - low_mw, slack_mw(want_mw))


def full_levels(
    curves: Curves, at: Ints, share: Floats, others: Floats, want_mw: Floats, most_mw: Floats
) -> Floats:
    """Level at which each row uses `want_mw`; every one uses more, `most_mw`, at `others`.

    `at`: the row of each group; `others`: where other rows stop the group.
    """
    rows = len(want_mw)
    top = float(curves.top().max())
    none = np.zeros(rows)
    guess = top * chord(want_mw, none, most_mw)
    high = np.full(rows, top)
    search = _Search(
        curves, at, share, others, np.arange(rows), want_mw, none, none, high, most_mw, guess
    )
    levels = np.zeros(rows)
    for step in range(MAX_STEPS):
        found = search.step(step % 2 == 0)
        levels[search.number[found]] = search.level[found]
        if found.all():
            return levels
        if np.count_nonzero(found) * WORTH_NARROWING >= len(found):
            search = search.narrowed(~found)
    levels[search.number] = search.low
    return levels
