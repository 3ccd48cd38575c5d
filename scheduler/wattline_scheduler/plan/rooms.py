"""What the rows above leave for new tasks, by group of nodes; see `Columns`.

Both families of rows, power and cooling, are asked alike: a task of `needed` wall milliwatts fits
below a row with room if `ceil(needed x share) <= room`, which is `needed <= floor(room / share)`.
"""

import numpy as np

from wattline_protocol.wall import PERMILLE
from wattline_scheduler.plan.columns import Columns
from wattline_scheduler.power.matrix import Floats, Ints


def given_back_mw(columns: Columns, priority: int) -> Ints:
    """[row] what work of lower priority there would give back."""
    total: Ints = columns.yields_mw[:, :priority].sum(axis=1)
    return total


def room_for(columns: Columns, priority: int) -> Ints:
    """[row] what is left, and what lower priorities there would give back."""
    return columns.room_mw + given_back_mw(columns, priority)


def most_mw(columns: Columns, room_mw: Ints) -> Ints:
    """[group] the largest task that all rows above have room for; 0 where there is none.

    A task without watts fits everywhere.
    """
    each = room_mw[columns.group_rows]
    if not columns.are_whole_shares:
        each = each * PERMILLE // columns.group_share
    most: Ints = np.maximum(each.min(axis=0), 0)
    return most


def share_left(columns: Columns, task_mw: int) -> Floats:
    """[group] of the tightest row above, which share of its budget such a task would leave."""
    share = (columns.room_mw - task_mw) / np.maximum(columns.budget_mw, 1)
    left: Floats = share[columns.group_rows].min(axis=0)
    return left
