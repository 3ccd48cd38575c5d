"""Writes nodes and rows to their entries in the columns."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wattline_protocol.ids import DomainId, Instant
from wattline_protocol.site.labels import Labels
from wattline_protocol.site.model import DomainKind
from wattline_protocol.site.wall_power import PERMILLE
from wattline_scheduler.plan.model.columns import WHOLE_MILLI, Columns
from wattline_scheduler.plan.model.device_classes import gpu_of
from wattline_scheduler.plan.model.shape import Waiting
from wattline_scheduler.plan.model.snapshot import NodeOffer, RowName, Snapshot
from wattline_scheduler.power.books.watt_admission import Yields

MANY_SETS = 64
"""Fewer sets of labels are never dropped."""


@dataclass(frozen=True, slots=True)
class RowHeadroom:
    """Headroom of one row for new tasks."""

    domain: DomainId
    name: str
    kind: DomainKind
    headroom_mw: int
    budget_mw: int
    yields: Yields = ()


def snapshot_of(
    now: Instant,
    offers: Sequence[NodeOffer],
    rows: Sequence[RowHeadroom],
    above: Sequence[tuple[tuple[int, int], ...]],
    waiting: tuple[Waiting, ...] = (),
) -> Snapshot:
    """Build a snapshot from scratch. `above`: the rows above each node, with permille."""
    slots = max((len(offer.gpus) for offer in offers), default=0)
    columns = Columns.empty(len(offers), max(slots, 1), above, len(rows))
    put_places(columns, [offer.rack for offer in offers], [offer.labels for offer in offers])
    for at, offer in enumerate(offers):
        put_node(columns, at, offer)
    for number, row in enumerate(rows):
        columns.headroom_mw[number], columns.budget_mw[number] = row.headroom_mw, row.budget_mw
        for priority, mw in row.yields:
            columns.yields_mw[number, priority] += mw
    names = tuple(RowName(row.domain, row.name, row.kind) for row in rows)
    position = {offer.node: at for at, offer in enumerate(offers)}
    return Snapshot(now, tuple(offers), position, names, columns, waiting)


def put_places(columns: Columns, racks: Sequence[str], labels: Sequence[Labels]) -> None:
    """Write the attributes of the nodes that their tasks never change: racks and labels."""
    rack_numbers: dict[str, int] = {}
    columns.rack[:] = [rack_numbers.setdefault(rack, len(rack_numbers)) for rack in racks]
    sets: dict[Labels, int] = {}
    columns.label_set[:] = [sets.setdefault(one, len(sets)) for one in labels]
    columns.label_sets = tuple(sets)


def put_labels(columns: Columns, at: int, labels: Labels) -> None:
    """Write other labels of a node, as its agent reports them."""
    if labels not in columns.label_sets:
        columns.label_sets = (*_sets_in_use(columns), labels)
    columns.label_set[at] = columns.label_sets.index(labels)


def _sets_in_use(columns: Columns) -> tuple[Labels, ...]:
    """The sets of labels, without those that no node has any more once these are the most."""
    used = np.unique(columns.label_set)
    if len(columns.label_sets) < max(MANY_SETS, 2 * len(used)):
        return columns.label_sets
    columns.label_set[:] = np.searchsorted(used, columns.label_set)
    return tuple(columns.label_sets[number] for number in used.tolist())


def put_node(columns: Columns, at: int, offer: NodeOffer) -> None:
    """Write a node's entries, except for `put_places` and the rows above it."""
    free = {gpu.index for gpu in offer.free}
    taken = (gpu for gpu in offer.gpus if gpu.index not in free)
    # Stable: free GPUs of equal memory stay in the order of the offer, coolest first.
    slots = sorted([*offer.free, *taken], key=lambda gpu: gpu.memory_bytes)
    left = {part.gpu.index: part.free_milli for part in offer.parts}
    left |= dict.fromkeys(free, WHOLE_MILLI)
    ends_s, counts_mw = dict(offer.ends), dict(offer.booking.held)
    counts_mw |= {part.gpu.index: part.counts_mw for part in offer.parts}
    columns.set_gpus(
        at,
        slots,
        [left.get(gpu.index, 0) for gpu in slots],
        [counts_mw.get(gpu_of(gpu.index), gpu.idle_mw) for gpu in slots],
    )
    columns.ends_s[at, : len(slots)] = [ends_s.get(gpu.index, math.inf) for gpu in slots]
    columns.is_endless[at, : len(slots)] = [gpu.index in offer.endless for gpu in slots]
    columns.is_open[at] = not offer.closed
    columns.cpus[at], columns.cpus_free[at] = offer.cpus, offer.cpus_free
    columns.memory_bytes[at] = offer.memory_bytes
    columns.memory_free_bytes[at] = offer.memory_free_bytes
    columns.load_mw[at] = offer.booking.base_mw + offer.booking.busy_mw
    columns.psu_permille[at] = offer.booking.psu_efficiency_permille
    columns.warmth[at], columns.least_priority[at] = offer.warmth, offer.least_priority


def change_yields(columns: Columns, at: int, before: NodeOffer, after: NodeOffer) -> None:
    """Write what the node's work releases to higher priorities to the rows above it."""
    was_mw, is_mw = _yields_mw(before), _yields_mw(after)
    if was_mw == is_mw:
        return
    group = columns.group[at]
    rows, shares = columns.group_rows[:, group], columns.group_share[:, group]
    for priority in was_mw.keys() | is_mw.keys():
        was, now = was_mw.get(priority, 0), is_mw.get(priority, 0)
        if columns.are_whole_shares:
            columns.yields_mw[rows, priority] += now - was
        else:
            here_mw = now * shares // PERMILLE - was * shares // PERMILLE
            columns.yields_mw[rows, priority] += here_mw


def _yields_mw(offer: NodeOffer) -> dict[int, int]:
    """By priority, at the wall."""
    booking = offer.booking
    if not booking.is_controlled:
        return {}
    return {level: mw * PERMILLE // booking.psu_efficiency_permille for level, mw in booking.yields}
