"""Does a new task fit under every budget? The room that placement may count on.

Running work is counted at what it must be able to keep (its admission watts), not at the lease it
happens to hold: leases above that are only lent and come back within a beat.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from wattline_protocol.ids import NodeId
from wattline_protocol.wall import wall_mw
from wattline_scheduler.power.books import Books
from wattline_scheduler.power.rows import counted_mw


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

    @property
    def kept_mw(self) -> int:
        """Wall milliwatts."""
        return wall_mw(self.base_mw + self.busy_mw, self.psu_efficiency_permille)


def admission_room(books: Books, kept: Mapping[NodeId, Kept]) -> list[int]:
    """Wall milliwatts of each row that new tasks may count on; may be negative."""
    room = [books.domains.grantable_mw(row.domain) for row in books.domains.rows]
    for node, rows in books.domains.rows_of.items():
        at = kept.get(node)
        mw = books.committed_mw(node)
        if at is not None and at.is_controlled:
            mw = at.kept_mw
        for row, share in rows:
            room[row] -= counted_mw(mw, share)
    return room
