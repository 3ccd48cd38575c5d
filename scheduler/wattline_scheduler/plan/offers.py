"""From what is said of a node, and of the rows, to their entries in the columns."""

from wattline_scheduler.plan.columns import ENDLESS_MW, WHOLE_MILLI, Columns, GpuClasses
from wattline_scheduler.plan.snapshot import NodeOffer, Snapshot


def columns_of(snapshot: Snapshot, classes: GpuClasses | None = None) -> Columns:
    """All of a snapshot as arrays."""
    slots = max((len(offer.gpus) for offer in snapshot.nodes), default=0)
    rows = snapshot.rows
    columns = Columns.empty(len(snapshot.nodes), max(slots, 1), snapshot.above, len(rows), classes)
    racks: dict[str, int] = {}
    for at, offer in enumerate(snapshot.nodes):
        put_node(columns, at, offer)
        columns.rack[at] = racks.setdefault(offer.rack, len(racks))
    columns.room_mw[:] = [*(row.room_mw for row in rows), ENDLESS_MW]
    columns.budget_mw[:] = [*(row.budget_mw for row in rows), ENDLESS_MW]
    for number, row in enumerate(rows):
        for priority, mw in row.yields:
            columns.yields_mw[number, priority] += mw
    return columns


def put_node(columns: Columns, at: int, offer: NodeOffer) -> None:
    """Write the row of a node; which rack it is in, and which rows are above, never changes."""
    free = {gpu.index for gpu in offer.free}
    taken = (gpu for gpu in offer.gpus if gpu.index not in free)
    # Stable: among GPUs of one memory the free ones stand as they are offered, coolest first.
    slots = sorted([*offer.free, *taken], key=lambda gpu: gpu.memory_bytes)
    parts = {part.gpu.index: part for part in offer.parts}
    left = {index: part.free_milli for index, part in parts.items()}
    left |= dict.fromkeys(free, WHOLE_MILLI)
    columns.set_gpus(at, slots, [left.get(gpu.index, 0) for gpu in slots])
    for slot, gpu in enumerate(slots):
        if gpu.index in parts:
            columns.idle_mw[at, slot] = parts[gpu.index].counts_mw
    columns.is_open[at] = not offer.closed
    columns.cpus_free[at] = offer.cpus_free
    columns.memory_free_bytes[at] = offer.memory_free_bytes
    columns.load_mw[at] = offer.kept.base_mw + offer.kept.busy_mw
    columns.psu_permille[at] = offer.kept.psu_efficiency_permille
    columns.warmth[at] = offer.warmth
