"""Which row keeps each node below what it would use, and since when."""

import numpy as np

from wattline_protocol.ids import UnixTime
from wattline_scheduler.power.allocation.allocator import Allocation, GpuColumns
from wattline_scheduler.power.topology.matrix import Floats, Ints

NO_ROW = -1


class Binding:
    """By position of the node; brought up to date after each allocation."""

    def __init__(self, node_count: int) -> None:
        self.row: Ints = np.full(node_count, NO_ROW, dtype=np.int64)
        """The row that stops the node's least satisfied GPU; -1 = none."""
        self.since: Floats = np.zeros(node_count)
        """UNIX time since when it is that row."""
        self._of: Allocation | None = None

    def update(self, allocation: Allocation, gpus: GpuColumns, now: UnixTime) -> None:
        """Take a new allocation; the same one again changes nothing."""
        if allocation is self._of:
            return
        self._of = allocation
        bound = np.flatnonzero(allocation.row >= 0)
        satisfied = allocation.gpu_mw[bound] / gpus.target_mw[bound]
        bound = bound[np.argsort(-satisfied, kind="stable")]
        row = np.full(len(self.row), NO_ROW, dtype=np.int64)
        row[gpus.node[bound]] = allocation.row[bound]  # of several the last counts
        changed = row != self.row
        self.since[changed] = now
        self.row = row
