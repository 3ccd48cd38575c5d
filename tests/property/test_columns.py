"""Columns say of every node and shape what looking at the node itself says."""

import numpy as np
from hypothesis import given

from support.strategies.plans import snapshots
from wattline_protocol.site.wall_power import wall_mw
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.plan.model.columns import Columns
from wattline_scheduler.plan.model.device_classes import gpu_of, profile_of
from wattline_scheduler.plan.model.headroom import Headroom
from wattline_scheduler.plan.model.shape import Shape
from wattline_scheduler.plan.model.snapshot import NodeOffer, Snapshot
from wattline_scheduler.plan.model.task_request import (
    ALL,
    Ask,
    ask_of,
    fits,
    free_slots,
    needed_mw,
    slots_for,
)
from wattline_scheduler.plan.search.rank import costs
from wattline_scheduler.power.demand.node_load import gpu_admission_mw
from wattline_scheduler.power.topology.rows import counted_mw


def suited(offer: NodeOffer, shape: Shape) -> list[tuple[GpuInfo, int]]:
    """The GPUs that would do, and what each counts now: the least memory that suffices first, then
    as they are offered; for a share the smallest part that suffices."""
    held = dict(offer.booking.held)
    there = [(gpu, 1000, held.get(gpu_of(gpu.index), gpu.idle_mw)) for gpu in offer.free]
    if shape.gpu_milli < 1000:
        there += [(part.gpu, part.free_milli, part.counts_mw) for part in offer.parts]
    word = shape.gpu_type[0] if shape.gpu_type else ""
    would_do = [
        (milli if shape.gpu_milli < 1000 else 0, gpu.memory_bytes, gpu, mw)
        for gpu, milli, mw in there
        if gpu.memory_bytes * shape.gpu_milli // 1000 >= shape.gpu_memory_min_bytes
        and word in gpu.name.lower()
        and profile_of(gpu) == shape.mig
        and milli >= shape.gpu_milli
        and (gpu.can_share or shape.gpu_milli == 1000)
    ]
    return [(gpu, mw) for _, _, gpu, mw in sorted(would_do, key=lambda one: one[:2])]


def needed(offer: NodeOffer, shape: Shape, gpus: list[tuple[GpuInfo, int]]) -> int:
    """Wall milliwatts that the node must keep more with a task on these GPUs."""
    rise_mw = sum(max(0, gpu_admission_mw(gpu, shape.need) - mw) for gpu, mw in gpus)
    load_mw, psu = (
        offer.booking.base_mw + offer.booking.busy_mw,
        offer.booking.psu_efficiency_permille,
    )
    return wall_mw(load_mw + rise_mw, psu) - wall_mw(load_mw, psu)


def has_watts(snap: Snapshot, at: int, mw: int, priority: int) -> bool:
    columns = snap.columns
    group = columns.group[at]
    for row, share in zip(columns.group_rows[:, group], columns.group_share[:, group], strict=True):
        given_back_mw = int(columns.yields_mw[row, :priority].sum())
        if mw > 0 and counted_mw(mw, int(share)) > int(columns.headroom_mw[row]) + given_back_mw:
            return False
    return True


def min_free(columns: Columns, ask: Ask, at: int) -> int:
    """Of the GPUs that a share may come from, the least that is free."""
    may = free_slots(columns, ask)[at]
    return int(columns.free_milli[at][may].min())


@given(snapshots())
def test_columns_agree_with_a_look_at_each_node(snap: Snapshot) -> None:
    columns = snap.columns
    for shape in {w.shape for w in snap.waiting}:
        ask = ask_of(shape, columns.classes)
        can, mw = fits(columns, ask), needed_mw(columns, ask)
        most = Headroom(columns).most_mw(shape.priority, ALL)
        cost = costs(columns, ask, shape.priority)
        for at, offer in enumerate(snap.nodes):
            would_do = suited(offer, shape)
            gpus = would_do[: shape.gpus]
            is_fit = (
                not offer.closed
                and shape.labels <= offer.labels
                and len(gpus) == shape.gpus
                and (not shape.cpus or offer.cpus_free >= shape.cpus)
                and (not shape.memory_bytes or offer.memory_free_bytes >= shape.memory_bytes)
            )
            assert is_fit == can[at]
            ways = [[one] for one in would_do] if shape.gpu_milli < 1000 else [gpus]
            is_covered = [
                has_watts(snap, at, needed(offer, shape, way), shape.priority) for way in ways
            ]
            assert np.isfinite(cost[at]) == (is_fit and any(is_covered))
            if is_fit:
                assert mw[at] == needed(offer, shape, gpus)
                assert (mw[at] <= most[at]) == is_covered[0]
                slots = slots_for(columns, ask, at)
                given = [columns.free_milli[at, slot] for slot in slots]
                assert shape.gpu_milli == 1000 or given == [min_free(columns, ask, at)]
                assert shape.gpu_milli < 1000 or (
                    columns.gpu_index[at, slots].tolist() == [g.index for g, _ in gpus]
                )
