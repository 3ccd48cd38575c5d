"""Does a new task fit under every budget? The room that placement may count on.

Running work is counted at what it must be able to keep (its admission watts), not at the lease it
happens to hold: leases above that are only lent and come back within a beat.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from wattline_protocol.ids import NodeId
from wattline_protocol.wall import PERMILLE, wall_mw
from wattline_scheduler.power.books import Books
from wattline_scheduler.power.rows import counted_mw

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


def yields_in_rows(books: Books, kept: Mapping[NodeId, Kept]) -> list[Yields]:
    """Of each row, at the wall: what a new task of higher priority may have beyond the room."""
    sums: list[dict[int, int]] = [{} for _ in books.domains.rows]
    for node, one in kept.items():
        if not one.is_controlled:
            continue
        for priority, load_mw in one.yields:
            mw = load_mw * PERMILLE // one.psu_efficiency_permille
            for row, share in books.domains.rows_of[node]:
                sums[row][priority] = sums[row].get(priority, 0) + mw * share // PERMILLE
    return [tuple(sorted(of.items())) for of in sums]
