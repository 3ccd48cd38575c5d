"""Binding row of each node: the row that limits it below its demand, and since when."""

import numpy as np

from wattline_protocol.ids import UnixTime
from wattline_scheduler.power.allocation.allocator import Allocation, GpuColumns
from wattline_scheduler.power.topology.matrix import Floats, Ints

NO_ROW = -1


class Binding:
    """Binding rows by position of the node; updated after each allocation."""

    def __init__(self, node_count: int) -> None:
        self.row: Ints = np.full(node_count, NO_ROW, dtype=np.int64)
        """The row that limits the node's least satisfied GPU; -1 = none."""
        self.since: Floats = np.zeros(node_count)
        """UNIX time at which that row became binding."""
        self._of: Allocation | None = None

    def update(self, allocation: Allocation, gpus: GpuColumns, now: UnixTime) -> None:
        """Apply a new allocation; idempotent."""
        if allocation is self._of:
            return
        self._of = allocation
        bound = np.flatnonzero(allocation.row >= 0)
        satisfied = allocation.gpu_mw[bound] / gpus.target_mw[bound]
        bound = bound[np.argsort(-satisfied, kind="stable")]
        row = np.full(len(self.row), NO_ROW, dtype=np.int64)
        row[gpus.node[bound]] = allocation.row[bound]  # the last of several wins
        changed = row != self.row
        self.since[changed] = now
        self.row = row
