"""Headroom of the rows above for new tasks, by group of nodes; see `Columns`.

Both families of rows, power and cooling, are handled alike: a task of `needed` wall milliwatts fits
below a row if `ceil(needed x share) <= headroom`, which is `needed <= floor(headroom / share)`.
"""

import numpy as np

from wattline_protocol.site.wall_power import PERMILLE
from wattline_scheduler.plan.model.columns import Columns
from wattline_scheduler.plan.model.task_request import At
from wattline_scheduler.power.topology.matrix import Floats, Ints

FEW = 2
"""If fewer nodes than one in so many groups are requested, only their rows are checked."""


class Headroom:
    """Headroom of the columns used by a plan.

    Values that no placement changes are cached permanently, headroom until one of the rows changes.
    """

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._most_mw: dict[int, Ints] = {}
        """[group] by priority."""
        self._given_back_mw: dict[int, Ints] = {}
        """[row] by priority."""
        self.budget_mw: Floats = np.maximum(columns.budget_mw, 1.0)
        """[row] as a divisor."""

    def add(self, rows: Ints, mw: Ints | int) -> None:
        """Change the headroom of these rows."""
        self._columns.headroom_mw[rows] += mw
        self.forget()

    def forget(self) -> None:
        """Drop the cached headroom."""
        self._most_mw.clear()

    def given_back_mw(self, priority: int) -> Ints:
        """[row] what work of lower priority there would release."""
        known = self._given_back_mw.get(priority)
        if known is None:
            known = self._columns.yields_mw[:, :priority].sum(axis=1)
            self._given_back_mw[priority] = known
        return known

    def headroom_mw(self, priority: int) -> Ints:
        """[row] headroom including what lower priorities there would release."""
        return self._columns.headroom_mw + self.given_back_mw(priority)

    def most_mw(self, priority: int, at: At) -> Ints:
        """[node] the largest task that fits below all rows above; 0 if none does."""
        columns = self._columns
        group = columns.group[at]
        if FEW * len(group) < columns.group_rows.shape[1]:
            return most_mw(columns, self.headroom_mw(priority), group)
        most = self._most_mw.get(priority)
        if most is None:
            most = self._most_mw[priority] = most_mw(columns, self.headroom_mw(priority))
        return most[group]

    def allow(self, mw: int, priority: int, at: int) -> bool:
        """Whether a task of this many wall milliwatts fits below the rows above a node."""
        columns = self._columns
        group = columns.group.item(at)
        rows, shares = columns.group_rows[:, group], columns.group_share[:, group]
        left_mw = columns.headroom_mw[rows] + self.given_back_mw(priority)[rows]
        if not columns.are_whole_shares:
            left_mw = left_mw * PERMILLE // shares
        return mw <= max(0, int(np.minimum.reduce(left_mw)))

    def share_left(self, task_mw: int, at: At) -> Floats:
        """[node] fraction of its budget left by such a task in the tightest row above."""
        columns = self._columns
        row_left = (columns.headroom_mw - task_mw) / self.budget_mw
        group = columns.group[at]
        if FEW * len(group) < columns.group_rows.shape[1]:
            few: Floats = np.minimum.reduce(row_left.take(columns.group_rows.take(group, axis=1)))
            return few
        left: Floats = np.minimum.reduce(row_left.take(columns.group_rows))
        return left[group]


def most_mw(columns: Columns, headroom_mw: Ints, group: Ints | None = None) -> Ints:
    """[group] the largest task that fits below all rows above; 0 if none does.

    `headroom_mw`: [row]. A task without watts fits everywhere. `group`: only these; None = all.
    """
    rows, share = columns.group_rows, columns.group_share
    if group is not None:
        rows, share = rows.take(group, axis=1), share.take(group, axis=1)
    each_mw = headroom_mw.take(rows)
    if not columns.are_whole_shares:
        each_mw = each_mw * PERMILLE // share
    most: Ints = np.maximum(np.minimum.reduce(each_mw), 0)
    return most
