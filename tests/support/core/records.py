"""Records as the core would save them, for tests of the store."""

from typing import Any

import msgspec

from wattline_bench.rig import history
from wattline_bench.rig.history import event, gang, usage
from wattline_protocol.ids import DomainId, Epoch, GpuIndex, Incarnation, NodeId, Sequence, UnixTime
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_protocol.wire.mig import MigInstance
from wattline_scheduler.records import (
    AttemptRecord,
    BookRecord,
    DemandRecord,
    JobRecord,
    LimitRecord,
    MeterRecord,
    NodeRecord,
    PlantRecord,
    ReservationRecord,
    SentLease,
    UseRecord,
)

__all__ = [
    "T0", "attempt", "book", "demand", "event", "gang", "gpu", "job", "limit", "meter", "node",
    "plant", "reservation", "spec", "usage", "use",
]  # fmt: skip

T0 = history.FIRST_UNIX_S
"""When things happen in these records."""


def spec(name: str = "train", **changes: Any) -> JobSpec:
    """A small job; `changes` replaces fields."""
    return msgspec.structs.replace(history.SPEC, name=name, **changes)


def job(number: int, *, ended_after_s: float | None = None, **changes: Any) -> JobRecord:
    """Job `number`; `changes` replaces fields of its specification."""
    return history.job(number, ended_after_s=ended_after_s, spec=spec(**changes))


def attempt(number: int, *, run_s: float = 100.0, at: float | None = None) -> AttemptRecord:
    """The first attempt of job `number`'s only task; odd ones have a MIG device."""
    mig = MigInstance("MIG-1", "3g.40gb", 40 << 30, 428) if number % 2 else None
    whole = history.attempt(number, node="n1", run_s=run_s, at=at)
    return msgspec.structs.replace(whole, mig=mig)


def gpu(index: int) -> GpuInfo:
    """An H100 as its agent describes it."""
    return GpuInfo(
        index=GpuIndex(index),
        uuid=f"GPU-{index}",
        name="NVIDIA H100 80GB HBM3",
        memory_bytes=80 * 2**30,
        cap_min_mw=200_000,
        cap_default_mw=700_000,
        cap_max_mw=700_000,
        idle_mw=80_000,
        overshoot_permille=1_030,
        can_cap=True,
        managed=True,
    )


def node(name: str = "n1") -> NodeRecord:
    """A host of 8 GPUs that was heard."""
    return NodeRecord(
        node=NodeId(name),
        incarnation=Incarnation(3),
        boot_id="b",
        hostname=name,
        agent_version="0.1.0",
        cpus=64,
        memory_bytes=2**40,
        gpus=tuple(gpu(i) for i in range(8)),
        is_simulated=True,
    )


def book(name: str = "n1", *, acked_mw: int = 3_000_000, sent_mw: int = 4_000_000) -> BookRecord:
    """A leased node with one lease under way."""
    lease = SentLease(Epoch(1), Incarnation(3), Sequence(9), sent_mw)
    return BookRecord(NodeId(name), "leased", acked_mw, (lease,))


def limit(name: str = "shed", *, is_over: bool = False) -> LimitRecord:
    """A quarter off the site's budget of 40 kW."""
    return LimitRecord(
        domain=DomainId("site"),
        name=name,
        source="operator",
        phase="over" if is_over else "in_force",
        value_mw=30_000_000,
        from_mw=40_000_000,
        start_unix_s=UnixTime(T0),
        ramp_s=60.0,
        end_unix_s=UnixTime(T0 + 600),
        requester="ops",
        why="grid",
    )


def demand(slot: int = 0) -> DemandRecord:
    """A kind of job that was seen for a hundred seconds at 500 W."""
    bins = tuple(100 if at == 36 else 0 for at in range(64))
    return DemandRecord(
        slot=slot,
        fingerprint=f"{slot:032x}",
        label="ada resnet NVIDIA H100 80GB HBM3",
        mean_mw=500_000,
        p95_mw=505_000,
        p99_mw=506_000,
        ramp_mw=300_000,
        samples=100,
        beyond=7,
        swing_permille=1_000,
        steepness_permille=1_000,
        width_mw=13_672,
        sum_mw=50_000_000,
        bins=bins,
        seen_unix_s=UnixTime(T0 + slot),
    )


def meter() -> MeterRecord:
    """A load of 1.2 kW that nobody booked."""
    return MeterRecord(DomainId("site"), held_mw=1_200_000, factor_permille=1_030)


def plant() -> PlantRecord:
    """Two units in service, says ops."""
    return PlantRecord(DomainId("room"), 2, "ops", "compressor", UnixTime(T0))


def use() -> UseRecord:
    """Ada used a GPU for an hour, most of it today, and all of a quota."""
    today = (UnixTime(T0), 3e9)
    reported = (UnixTime(T0 + 3600.0), 750.0)
    return UseRecord("account", "ada", UnixTime(T0), 3600.0, 3.6e9, *today, *today, 3e9, *reported)


def reservation(name: str = "lab-week", *, is_over: bool = False) -> ReservationRecord:
    """Node n1 for an account and a user, for an hour."""
    return ReservationRecord(
        name,
        "over" if is_over else "planned",
        UnixTime(T0),
        UnixTime(T0 + 3600),
        (NodeId("n1"),),
        ("vision",),
        ("ada",),
        "ops",
        "course",
    )
