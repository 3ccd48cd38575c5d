"""Snapshots for tests of the planner: `snapshot(offer("a1"), offer("a2", free=3), room=20)`."""

import numpy as np

from support.core.sites import BASE_MW, PSU_PERMILLE, JobBuilder, gpu
from wattline_protocol.ids import DomainId, Instant, JobId, NodeId
from wattline_scheduler.plan.model.column_writer import RowHeadroom, snapshot_of
from wattline_scheduler.plan.model.columns import TRIED, Columns
from wattline_scheduler.plan.model.shape import Shape, Waiting, shape_of
from wattline_scheduler.plan.model.snapshot import NodeOffer, Snapshot
from wattline_scheduler.power.books.watt_admission import Booking


def offer(
    name: str,
    *,
    rack: str = "",
    gpus: int = 8,
    free: int | None = None,
    gpu_name: str = "NVIDIA H100",
    gib: int = 80,
    closed: str = "",
    cpus: int = 64,
    memory_gib: int = 512,
    labels: dict[str, str] | None = None,
    **more: object,
) -> NodeOffer:
    """A node with `free` of its GPUs free (all, if not said)."""
    all_gpus = tuple(gpu(i, name=gpu_name, gib=gib, **more) for i in range(gpus))
    left = gpus if free is None else free
    return NodeOffer(
        node=NodeId(name),
        rack=rack or name[0],
        closed=closed,
        gpus=all_gpus,
        free=all_gpus[gpus - left :],
        cpus=cpus,
        cpus_free=cpus,
        memory_bytes=memory_gib * 2**30,
        memory_free_bytes=memory_gib * 2**30,
        booking=Booking(NodeId(name), BASE_MW + gpus * 80_000, 0, PSU_PERMILLE, is_controlled=True),
        labels=frozenset((labels or {}).items()),
    )


def snapshot(
    *offers: NodeOffer,
    waiting: tuple[Waiting, ...] = (),
    room_kw: float = 1_000.0,
    rack_room_kw: dict[str, float] | None = None,
    zone_kw: float = 1_000.0,
    now: float = 0.0,
) -> Snapshot:
    """All nodes below `site` and `room`; racks have their own domain where a room is given."""
    racks = rack_room_kw or {}
    rooms = [("site", "power", room_kw), ("room", "cooling", zone_kw)]
    rooms += [(f"pdu-{rack}", "power", kw) for rack, kw in racks.items()]
    rows = tuple(
        RowHeadroom(DomainId(name), name, kind, int(kw * 1e6), int(kw * 1e6))  # type: ignore[arg-type]  # a literal
        for name, kind, kw in rooms
    )
    at = {rack: 2 + i for i, rack in enumerate(racks)}
    above = tuple(
        tuple((row, 1000) for row in (0, 1, *([at[o.rack]] if o.rack in at else [])))
        for o in offers
    )
    return snapshot_of(Instant(now), offers, rows, above, waiting)


def shape(job: JobBuilder) -> Shape:
    return shape_of(job.build())


def waits(number: int, job: JobBuilder, *, gangs: int = 1, since: float = 0.0) -> Waiting:
    """Job `number` with so many gangs ready."""
    spec = job.build()
    return Waiting(
        JobId(number), spec.priority, Instant(since), shape_of(spec), tuple(range(gangs))
    )


def same_columns(one: Columns, other: Columns) -> bool:
    """Whether two columns are equal to the last number that means anything."""
    counted = np.arange(one.slot_count + 1)[:, None] <= one.whole
    return all(
        np.array_equal(
            getattr(one, name)[counted] if name == "first_idle_mw" else getattr(one, name),
            getattr(other, name)[counted] if name == "first_idle_mw" else getattr(other, name),
        )
        for name in TRIED
    )
