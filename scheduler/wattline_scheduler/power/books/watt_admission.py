"""Power admission: the headroom for new tasks under every budget.

Running work is counted at its admission watts, not at its present lease: watts of a lease above
that are only lent and are returned within a beat.
"""

from dataclasses import dataclass

import numpy as np

from wattline_protocol.ids import GpuIndex, NodeId
from wattline_protocol.site.wall_power import wall_mw
from wattline_scheduler.power.books.books import Books
from wattline_scheduler.power.topology.matrix import Bools, Ints

Yields = tuple[tuple[int, int], ...]
"""(priority, milliwatts): what work of that priority counts above the idle draw of its GPUs.
Pausing it frees all of that, or has already freed it."""


@dataclass(frozen=True, slots=True)
class Booking:
    """Watts that must stay available to a node with its placed work."""

    node: NodeId
    base_mw: int
    """Non-GPU worst case plus idle watts of the free GPUs, before the power supplies."""
    busy_mw: int
    """Admission watts of the GPUs with a task."""
    psu_efficiency_permille: int
    is_controlled: bool
    """False if silent, observing or distrusted: the node then counts as booked."""
    yields: Yields = ()
    """Before the power supplies."""
    held: tuple[tuple[GpuIndex, int], ...] = ()
    """Admission watts of each GPU with a task."""

    @property
    def booked_mw(self) -> int:
        """In wall milliwatts."""
        return wall_mw(self.base_mw + self.busy_mw, self.psu_efficiency_permille)


def admission_headroom(books: Books, booked_mw: Ints, is_controlled: Bools) -> Ints:
    """Wall milliwatts of each row available to new tasks; may be negative.

    `booked_mw` and `is_controlled`: per node, in the order of `Domains.matrix`.
    """
    counts_mw = np.where(is_controlled, booked_mw, books.committed)
    return books.domains.grantable_in_rows() - books.domains.matrix.in_rows(counts_mw)
