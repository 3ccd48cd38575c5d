"""Weighted max-min water-filling under many rows at once, vectorised over GPUs; pure.

Theory. Every GPU rises from its start to its end along one common scale, the level; a full row
stops all GPUs that count in it. Each row has the level at which it would be full given where the
*other* rows stop its GPUs; a GPU stops at the least level of its rows. Where these agree (every row
that stops a GPU is full, none is overfull) the allocation is the max-min fair one (Bertsekas &
Gallager, Data Networks, 6.5.2: each GPU has a bottleneck). The levels are found layer by layer,
inner rows first; on one tree a single round is exact, because an outer row stops all GPUs of an
inner row alike. With two families (power and cooling, redundant feeds) rounds are repeated until
they agree: after round k at the latest, the k lowest bottlenecks are final.
"""

from dataclasses import dataclass

import numpy as np

from wattline_scheduler.power.topology.matrix import Bools, Floats, Ints, Matrix
from wattline_scheduler.power.topology.roots import TOLERANCE_MW, Curves, full_levels, slack_mw

FULL_WITHIN = 1e-7
"""Relative size of a gap below which rounds count as equal."""

MAX_ROUNDS = 40
"""Limit after which levels are lowered until all fits: safe, but possibly not perfectly fair."""


@dataclass(frozen=True, slots=True)
class Rise:
    """GPUs that rise together. Arrays with one entry per GPU, ascending by group."""

    group: Ints
    start: Floats
    """Level at which it begins to rise; at least 0."""
    end: Floats
    """Level at which its demand is met; above `start`."""
    wall_mw: Floats
    """Wall cost of its full rise; above 0."""


@dataclass(frozen=True, slots=True)
class Filled:
    """How far each GPU rose."""

    part: Floats
    """Fraction 0..1 of its `wall_mw`."""
    row: Ints
    """The row that stopped it; -1 = none."""


def fill(matrix: Matrix, rise: Rise, left_mw: Floats) -> Filled:
    """Raise every GPU as far as the rows allow; what is used is subtracted from `left_mw` in place.

    `left_mw` has one entry per row, in wall milliwatts, none negative.
    """
    first = np.flatnonzero(np.diff(rise.group, prepend=-1))
    groups = rise.group[first]
    total = np.add.reduceat(rise.wall_mw, first)
    level, row = _stopped(matrix, groups, left_mw)
    is_open = row < 0
    tight = _is_tight(matrix, groups, np.where(is_open, total, 0.0), left_mw)
    contended = np.zeros(len(groups), dtype=np.bool_)
    for layer in matrix.layers:
        contended |= tight[layer.row[groups]]
    contended &= is_open
    counts = np.diff(first, append=len(rise.group))
    if contended.any():
        _settle(matrix, rise, groups, counts, contended, tight, left_mw, level, row)
    part = np.clip((np.repeat(level, counts) - rise.start) / (rise.end - rise.start), 0.0, 1.0)
    used = np.add.reduceat(part * rise.wall_mw, first)
    for layer in matrix.layers:
        spent = np.bincount(layer.row[groups], layer.share[groups] * used, matrix.row_count + 1)
        left_mw -= spent[:-1]
    np.maximum(left_mw, 0.0, out=left_mw)
    return Filled(part, np.where(part < 1.0, np.repeat(row, counts), -1))


def _stopped(matrix: Matrix, groups: Ints, left_mw: Floats) -> tuple[Floats, Ints]:
    """Level and stopping row of groups below a row that is already full."""
    level = np.full(len(groups), np.inf)
    row = np.full(len(groups), -1, dtype=np.int64)
    is_full = np.append(left_mw <= TOLERANCE_MW, np.False_)
    if is_full.any():
        for layer in matrix.layers:
            rows = layer.row[groups]
            hit = is_full[rows] & (row < 0)
            row[hit] = rows[hit]
            level[hit] = -np.inf
    return level, row


def _is_tight(matrix: Matrix, groups: Ints, total: Floats, left_mw: Floats) -> Bools:
    """Rows whose GPUs cannot all rise fully; other rows stop no GPU."""
    need = np.zeros(matrix.row_count + 1)
    for layer in matrix.layers:
        need += np.bincount(layer.row[groups], layer.share[groups] * total, matrix.row_count + 1)
    tight = need > np.append(left_mw, np.inf)
    tight[-1] = False
    return tight


def _settle(
    matrix: Matrix,
    rise: Rise,
    groups: Ints,
    counts: Ints,
    contended: Bools,
    tight: Bools,
    left_mw: Floats,
    level: Floats,
    row: Ints,
) -> None:
    """Find level and stopping row of the contended groups (written into `level` and `row`)."""
    chosen = np.repeat(contended, counts)
    start, width = rise.start[chosen], rise.end[chosen] - rise.start[chosen]
    curves = Curves(start, width, rise.wall_mw[chosen] / width, counts[contended])
    local = groups[contended]
    stages = [
        _stage(layer.row[local], layer.share[local], tight, left_mw) for layer in matrix.layers
    ]
    stages = [stage for stage in stages if len(stage.rows)]
    levels = _Contest(curves, stages).settle()
    level[contended] = levels.min(axis=0)
    stopper = levels.argmin(axis=0)
    rows = np.array([np.append(s.rows, -1)[s.at] for s in stages])
    row[contended] = rows[stopper, np.arange(len(local))]


@dataclass(frozen=True, slots=True)
class _Stage:
    """The tight rows of one layer, for the contended groups."""

    rows: Ints
    """Row numbers in the matrix."""
    at: Ints
    """Per group, the position in `rows`; len(rows) = none."""
    share: Floats
    left_mw: Floats
    """Per row of `rows`."""

    def sums(self, per_group: Floats) -> Floats:
        """Sum per row of `rows`, weighted by the shares."""
        sums = np.bincount(self.at, self.share * per_group, len(self.rows) + 1)[:-1]
        return sums.astype(np.float64, copy=False)


def _stage(row: Ints, share: Floats, tight: Bools, left_mw: Floats) -> _Stage:
    is_tight = tight[row]
    rows, numbers = np.unique(row[is_tight], return_inverse=True)
    at = np.full(len(row), len(rows), dtype=np.int64)
    at[is_tight] = numbers
    return _Stage(rows, at, share, left_mw[rows])


class _Contest:
    """The contended groups: levels are found row by row until all rows agree."""

    def __init__(self, curves: Curves, stages: list[_Stage]) -> None:
        self._curves = curves
        self._stages = stages
        self._top = curves.top()

    def settle(self) -> Floats:
        """Levels per stage and group at which each stops; the minimum of a column counts."""
        levels = np.full((len(self._stages), len(self._top)), np.inf)
        for _ in range(MAX_ROUNDS):
            for number, stage in enumerate(self._stages):
                levels[number] = np.inf
                self._meet(stage, levels.min(axis=0), levels[number])
            if self._agrees(levels):
                return levels
        for number, stage in enumerate(self._stages):
            self._meet(stage, levels.min(axis=0), levels[number])
        return levels

    def _meet(self, stage: _Stage, others: Floats, level: Floats) -> None:
        """Lower `level` (per group) to where each row of the stage is full, given `others`."""
        most = stage.sums(self._curves.used(others))
        short = most > stage.left_mw + slack_mw(stage.left_mw)
        if not short.any():
            return
        groups = np.append(short, np.False_)[stage.at]
        number = np.cumsum(short) - 1
        found = full_levels(
            self._curves.part(groups),
            number[stage.at[groups]],
            stage.share[groups],
            others[groups],
            stage.left_mw[short],
            most[short],
        )
        level[groups] = np.minimum(level[groups], found[number[stage.at[groups]]])

    def _agrees(self, levels: Floats) -> bool:
        """Whether no row is overfull and every row that stops a GPU is full."""
        least = levels.min(axis=0)
        used = self._curves.used(least)
        for number, stage in enumerate(self._stages):
            sums = stage.sums(used)
            if (sums > stage.left_mw + slack_mw(stage.left_mw)).any():
                return False
            stops = (levels[number] <= least) & (least < self._top)
            is_stopping = np.bincount(stage.at, stops, len(stage.rows) + 1)[:-1] > 0
            gap = FULL_WITHIN * stage.left_mw + 1.0
            if (is_stopping & (sums < stage.left_mw - gap)).any():
                return False
        return True
