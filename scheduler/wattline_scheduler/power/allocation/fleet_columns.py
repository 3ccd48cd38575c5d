"""Loads of all nodes as columns for the allocator, updated per node.

A beat that leaves a node unchanged costs nothing; a change costs writing that node's few entries.
Entries of a node that is not set are zero: no draw and no demand.
"""

from collections.abc import Iterable

import numpy as np

from wattline_protocol.ids import NodeId
from wattline_scheduler.power.allocation.allocator import (
    Allocation,
    GpuColumns,
    NodeColumns,
    allocate,
    lease_mw,
)
from wattline_scheduler.power.demand.node_load import EQUAL_WEIGHT_PERMILLE, GpuLoad, NodeLoad
from wattline_scheduler.power.topology.matrix import Ints, Matrix

USUAL_GPUS = 8
"""Entries reserved for a node that has not connected yet."""

NO_PRIORITY = -1


class Fleet:
    """`NodeLoad`s by node. The columns are the allocator's input."""

    def __init__(self, matrix: Matrix, loads: Iterable[NodeLoad] = ()) -> None:
        self.matrix = matrix
        self.loads: dict[NodeId, NodeLoad] = {}
        self._slots = [USUAL_GPUS] * len(matrix.nodes)
        self._known: tuple[Ints, Allocation] | None = None
        """The newest allocation and its input; None once a load has changed."""
        self.newest: Allocation | None = None
        """The newest allocation, even if loads have changed since; None before the first."""
        self._make()
        for load in loads:
            self.put(load)

    def _make(self) -> None:
        """Rebuild the columns with `_slots` entries per node, filled from `loads`."""
        count, slots = len(self._slots), np.array(self._slots, dtype=np.int64)
        self._first = np.cumsum(slots) - slots
        total = int(slots.sum())
        self.newest = None  # its entries have different positions now
        self.nodes = NodeColumns(
            base_mw=np.zeros(count, dtype=np.int64),
            psu_efficiency_permille=np.full(count, 1000, dtype=np.int64),
            lowest_mw=np.zeros(count, dtype=np.int64),
            is_set=np.zeros(count, dtype=np.bool_),
        )
        self.gpus = GpuColumns(
            node=np.repeat(np.arange(count), slots),
            floor_mw=np.zeros(total, dtype=np.int64),
            asked_mw=np.zeros(total, dtype=np.int64),
            useful_mw=np.zeros(total, dtype=np.int64),
            target_mw=np.zeros(total, dtype=np.int64),
            ceiling_mw=np.zeros(total, dtype=np.int64),
            priority=np.full(total, NO_PRIORITY, dtype=np.int64),
            weight_permille=np.full(total, EQUAL_WEIGHT_PERMILLE, dtype=np.int64),
            gain=np.zeros(total),
        )
        for load in self.loads.values():
            self._write(self.matrix.at[load.node], load)

    def put(self, load: NodeLoad) -> None:
        """Set or update a node's load."""
        before = self.loads.get(load.node)
        self.loads[load.node] = load
        if before == load:
            return
        self._known = None
        at = self.matrix.at[load.node]
        if len(load.gpus) > self._slots[at]:
            self._slots[at] = len(load.gpus)
            self._make()
        else:
            self._write(at, load)

    def drop(self, node: NodeId) -> None:
        """Remove the load of a node whose lease can no longer be set."""
        if self.loads.pop(node, None) is None:
            return
        self._known = None
        at = self.matrix.at[node]
        self.nodes.is_set[at] = False
        self.nodes.base_mw[at] = self.nodes.lowest_mw[at] = 0
        self._write_gpus(at, ())

    def _write(self, at: int, load: NodeLoad) -> None:
        nodes = self.nodes
        nodes.is_set[at] = True
        nodes.base_mw[at] = load.base_mw
        nodes.psu_efficiency_permille[at] = load.psu_efficiency_permille
        nodes.lowest_mw[at] = load.lowest_mw
        self._write_gpus(at, load.gpus)

    def _write_gpus(self, at: int, busy: tuple[GpuLoad, ...]) -> None:
        first, slots, gpus = int(self._first[at]), self._slots[at], self.gpus
        none = slots - len(busy)
        here = slice(first, first + slots)
        gpus.floor_mw[here] = [*(g.floor_mw for g in busy), *[0] * none]
        gpus.asked_mw[here] = [*(g.asked_mw for g in busy), *[0] * none]
        gpus.useful_mw[here] = [*(g.useful_mw for g in busy), *[0] * none]
        gpus.target_mw[here] = [*(g.target_mw for g in busy), *[0] * none]
        gpus.ceiling_mw[here] = [*(g.ceiling_mw for g in busy), *[0] * none]
        gpus.priority[here] = [*(g.priority for g in busy), *[NO_PRIORITY] * none]
        usual = [EQUAL_WEIGHT_PERMILLE] * none
        gpus.weight_permille[here] = [*(g.weight_permille for g in busy), *usual]
        gpus.gain[here] = [*(g.gain for g in busy), *[0.0] * none]

    def allocate(self, free_mw: Ints) -> Allocation:
        """See `allocator.allocate`; cached while the input is unchanged."""
        if self._known is None or not np.array_equal(self._known[0], free_mw):
            self._known = (free_mw, allocate(self.matrix, self.nodes, self.gpus, free_mw))
        self.newest = self._known[1]
        return self.newest

    def floor_mw(self) -> Ints:
        """Lowest lease of each node with its work running; 0 = not set."""
        return lease_mw(self.nodes, self.gpus, self.gpus.floor_mw)

    def useful_mw(self) -> Ints:
        """Lease that covers the useful caps of all work on each node; 0 = not set."""
        return lease_mw(self.nodes, self.gpus, self.gpus.useful_mw)

    def target_mw(self) -> Ints:
        """Lease that covers each node's demand; 0 = not set."""
        return lease_mw(self.nodes, self.gpus, self.gpus.target_mw)

    def gpu_entries(self, node: NodeId) -> slice:
        """Positions of the node's busy GPUs in the columns, in the order of its load."""
        first = int(self._first[self.matrix.at[node]])
        load = self.loads.get(node)
        return slice(first, first + (len(load.gpus) if load is not None else 0))
