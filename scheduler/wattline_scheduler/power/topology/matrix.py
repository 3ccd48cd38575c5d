"""The membership matrix of rows x nodes as arrays, built once per site.

Nodes that count in the same rows with the same shares form a *group*: they always rise and stop
together. Rows are sorted into *layers*: no two rows of a layer share a group, and a row comes in a
later layer than every row inside it (PDU, feed, site; rack zone, room). So a layer is one row
number and one share per group.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattline_protocol.ids import NodeId
from wattline_protocol.site.wall_power import PERMILLE

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Layer:
    """Disjoint rows. Both arrays have one entry per group."""

    row: Ints
    """Number of the row that counts the group; the number of rows if there is none."""
    share: Floats
    """Share 0..1 of the group's wall watts that counts there."""


class Matrix:
    """Membership of nodes in rows, by position."""

    def __init__(
        self, rows_of: Mapping[NodeId, tuple[tuple[int, int], ...]], row_count: int
    ) -> None:
        """`rows_of`: for each node the rows that count it, with permille; see `Domains`."""
        self.nodes: tuple[NodeId, ...] = tuple(sorted(rows_of, key=lambda node: rows_of[node]))
        """Sorted by group; defines positions in all node arrays."""
        self.at: dict[NodeId, int] = {node: at for at, node in enumerate(self.nodes)}
        self.row_count = row_count
        numbers = {rows: g for g, rows in enumerate(dict.fromkeys(rows_of[n] for n in self.nodes))}
        self.group: Ints = np.array([numbers[rows_of[n]] for n in self.nodes], dtype=np.int64)
        """Per node; ascending."""
        self.layers: tuple[Layer, ...] = _layers(list(numbers), self.row_count)
        entries = [(r, at, s) for at, n in enumerate(self.nodes) for r, s in rows_of[n]]
        columns = np.array(entries, dtype=np.int64).reshape(-1, 3).T
        self.entry_row: Ints = columns[0].copy()
        self.entry_node: Ints = columns[1].copy()
        self.entry_share: Ints = columns[2].copy()

    def below(self, rows: Bools) -> Bools:
        """Nodes that count in any of these rows."""
        return np.bincount(self.entry_node, rows[self.entry_row], len(self.nodes)) > 0

    def in_rows(self, wall_mw: Ints) -> Ints:
        """Sum in each row for nodes with these wall milliwatts; exact."""
        counted = -(-(wall_mw[self.entry_node] * self.entry_share) // PERMILLE)
        # Sums of whole numbers below 2**53 are exact in floats as well.
        summed = np.bincount(self.entry_row, counted, self.row_count)
        return summed.astype(np.int64)


def _layers(groups: list[tuple[tuple[int, int], ...]], row_count: int) -> tuple[Layer, ...]:
    members: list[dict[int, int]] = [{} for _ in range(row_count)]
    for group, rows in enumerate(groups):
        for row, share in rows:
            members[row][group] = share
    layers: list[list[int]] = []
    # A row's first possible layer follows all that touch its groups: smaller first.
    last = [-1] * len(groups)
    for row in sorted(range(row_count), key=lambda row: (len(members[row]), -row)):
        if not members[row]:
            continue
        at = 1 + max(last[group] for group in members[row])
        while len(layers) <= at:
            layers.append([])
        layers[at].append(row)
        for group in members[row]:
            last[group] = at
    return tuple(_layer([(r, members[r]) for r in rows], len(groups), row_count) for rows in layers)


def _layer(rows: list[tuple[int, dict[int, int]]], group_count: int, row_count: int) -> Layer:
    row = np.full(group_count, row_count, dtype=np.int64)
    share = np.zeros(group_count)
    for number, members in rows:
        for group, permille in members.items():
            row[group] = number
            share[group] = permille / PERMILLE
    return Layer(row, share)
