"""Does a new task fit under every budget? The room that placement may count on.

Running work is counted at what it must be able to keep (its admission watts), not at the lease it
happens to hold: leases above that are only lent and come back within a beat.
"""

from dataclasses import dataclass

import numpy as np

from wattline_protocol.ids import GpuIndex, NodeId
from wattline_protocol.site.wall_power import wall_mw
from wattline_scheduler.power.books.books import Books
from wattline_scheduler.power.topology.matrix import Bools, Ints

Yields = tuple[tuple[int, int], ...]
"""(priority, milliwatts): what work of that priority is counted for above the idle draw of its
GPUs. Paused it gives all of it back, or has given it already."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a node must be able to keep drawing with the work placed on it."""

    node: NodeId
    base_mw: int
    """Non-GPU worst case plus idle watts of the free GPUs, before the power supplies."""
    busy_mw: int
    """Admission watts of the GPUs with a task."""
    psu_efficiency_permille: int
    is_controlled: bool
    """False: silent, observing or distrusted; then it counts as the books say."""
    yields: Yields = ()
    """Before the power supplies."""
    held: tuple[tuple[GpuIndex, int], ...] = ()
    """Admission watts of each GPU with a task."""

    @property
    def kept_mw(self) -> int:
        """Wall milliwatts."""
        return wall_mw(self.base_mw + self.busy_mw, self.psu_efficiency_permille)


def admission_room(books: Books, kept_mw: Ints, is_controlled: Bools) -> Ints:
    """Wall milliwatts of each row that new tasks may count on; may be negative.

    `kept_mw` and `is_controlled`: of each node, in the order of `Domains.matrix`.
    """
    counts_mw = np.where(is_controlled, kept_mw, books.committed)
    return books.domains.grantable_in_rows() - books.domains.matrix.in_rows(counts_mw)
