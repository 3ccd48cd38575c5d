"""What the rows above leave for new tasks, by group of nodes; see `Columns`.

Both families of rows, power and cooling, are asked alike: a task of `needed` wall milliwatts fits
below a row with room if `ceil(needed x share) <= room`, which is `needed <= floor(room / share)`.
"""

import numpy as np

from wattline_protocol.wall import PERMILLE
from wattline_scheduler.plan.columns import Columns
from wattline_scheduler.power.matrix import Floats, Ints


class Rooms:
    """The rooms of columns on which a plan is made. What each choice asks is kept until one of them
    changes, what no placement changes for good."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._each_mw: Ints | None = None
        """[n, group] room of the rows above."""
        self._most_mw: dict[int, Ints] = {}
        """By priority, as are the next two."""
        self._given_back_mw: dict[int, Ints] = {}
        self._each_given_back_mw: dict[int, Ints] = {}
        self._each_budget_mw = np.maximum(columns.budget_mw, 1.0).take(columns.group_rows)

    def add(self, rows: Ints, mw: Ints | int) -> None:
        """These rows have so much more room, or less."""
        self._columns.room_mw[rows] += mw
        self._each_mw = None
        self._most_mw.clear()

    def given_back_mw(self, priority: int) -> Ints:
        """[row] what work of lower priority there would give back."""
        known = self._given_back_mw.get(priority)
        if known is None:
            known = self._columns.yields_mw[:, :priority].sum(axis=1)
            self._given_back_mw[priority] = known
        return known

    def room_mw(self, priority: int) -> Ints:
        """[row] what is left, and what lower priorities there would give back."""
        return self._columns.room_mw + self.given_back_mw(priority)

    def most_mw(self, priority: int) -> Ints:
        """[group] the largest task that all rows above have room for; 0 where there is none."""
        most = self._most_mw.get(priority)
        if most is None:
            given_back = self._each_given_back_mw.get(priority)
            if given_back is None:
                given_back = self.given_back_mw(priority).take(self._columns.group_rows)
                self._each_given_back_mw[priority] = given_back
            most = self._most_mw[priority] = _most_mw(self._columns, self._each() + given_back)
        return most

    def share_left(self, task_mw: int) -> Floats:
        """[group] of the tightest row above, which share of its budget such a task would leave."""
        left: Floats = np.minimum.reduce((self._each() - task_mw) / self._each_budget_mw)
        return left

    def _each(self) -> Ints:
        if self._each_mw is None:
            self._each_mw = self._columns.room_mw.take(self._columns.group_rows)
        return self._each_mw


def most_mw(columns: Columns, room_mw: Ints) -> Ints:
    """[group] the largest task that all rows above have room for; 0 where there is none.

    `room_mw`: [row]. A task without watts fits everywhere.
    """
    return _most_mw(columns, room_mw.take(columns.group_rows))


def _most_mw(columns: Columns, each_mw: Ints) -> Ints:
    if not columns.are_whole_shares:
        each_mw = each_mw * PERMILLE // columns.group_share
    most: Ints = np.maximum(np.minimum.reduce(each_mw), 0)
    return most
