"""Records as the core would save them, for tests of the store."""

from typing import Any

import msgspec

from wattline_protocol.ids import (
    AttemptNo,
    DomainId,
    Epoch,
    GpuIndex,
    Incarnation,
    JobId,
    NodeId,
    Sequence,
    TaskNo,
    UnixTime,
    UserName,
)
from wattline_protocol.job.spec import JobSpec, Resources
from wattline_protocol.views.site_views import EventView
from wattline_protocol.wire.agent_messages import GpuInfo, TaskExit, TaskUsage
from wattline_protocol.wire.mig import MigInstance
from wattline_scheduler.records import (
    AttemptRecord,
    BookRecord,
    DemandRecord,
    EventRecord,
    GangRecord,
    JobRecord,
    LimitRecord,
    MeterRecord,
    NodeRecord,
    PlantRecord,
    ReservationRecord,
    SentLease,
    UseRecord,
)

T0 = 1_700_000_000.0
"""When things happen in these records."""


def spec(name: str = "train", **changes: Any) -> JobSpec:
    """A small job; `changes` replaces fields."""
    small = JobSpec(
        name=name,
        command=("python", "train.py", "--epochs", "30"),
        resources=Resources(nodes=1, gpus_per_node=4, gpu_type=("h100",)),
        env={"SEED": "1"},
    )
    return msgspec.structs.replace(small, **changes)


def job(number: int, *, ended_after_s: float | None = None, **changes: Any) -> JobRecord:
    """Job `number`, submitted `number` seconds after T0; ended with success if asked."""
    submitted = T0 + number
    ended = None if ended_after_s is None else UnixTime(submitted + ended_after_s)
    return JobRecord(
        id=JobId(number),
        token=f"token-{number}",
        owner=UserName("ada"),
        submitted_unix_s=UnixTime(submitted),
        spec=spec(**changes),
        state="PENDING" if ended is None else "COMPLETED",
        ended_unix_s=ended,
    )


def gang(number: int, *, attempt: int = 0, is_ended: bool = False) -> GangRecord:
    """The only gang of job `number`."""
    return GangRecord(
        job=JobId(number),
        gang=0,
        phase="ended" if is_ended else "pending",
        attempt=AttemptNo(attempt),
        outcome="COMPLETED" if is_ended else None,
    )


def attempt(number: int, *, run_s: float = 100.0, at: float | None = None) -> AttemptRecord:
    """The first attempt of job `number`'s only task, ended after `run_s`."""
    start = T0 + number if at is None else at
    return AttemptRecord(
        job=JobId(number),
        task=TaskNo(0),
        attempt=AttemptNo(1),
        node=NodeId("n1"),
        gpus=tuple(GpuIndex(i) for i in range(4)),
        state="COMPLETED",
        placed_unix_s=UnixTime(start),
        started_unix_s=UnixTime(start),
        ended_unix_s=UnixTime(start + run_s),
        usage=usage(run_s),
        metrics={"accuracy": 0.97},
        pid=4711,
        exit=TaskExit(kind="exited", code=0, ended_unix_s=UnixTime(start + run_s)),
        mig=MigInstance("MIG-1", "3g.40gb", 40 << 30, 428) if number % 2 else None,
    )


def usage(run_s: float) -> TaskUsage:
    """4 GPUs at 500 W and 80 % for `run_s`, a tenth of it cap-bound."""
    return TaskUsage(
        run_s=run_s,
        gpu_s=4 * run_s,
        gpu_energy_mj=int(4 * 500_000 * run_s),
        node_energy_mj=int(2_500_000 * run_s),
        util_gpu_s=0.8 * 4 * run_s,
        cap_bound_gpu_s=0.1 * 4 * run_s,
    )


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
    caps = (400_000,) * 8
    lease = SentLease(Epoch(1), Incarnation(3), Sequence(9), sent_mw, caps)
    return BookRecord(NodeId(name), "leased", acked_mw, caps, (lease,))


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
    told = (UnixTime(T0 + 3600.0), 750.0)
    return UseRecord("account", "ada", UnixTime(T0), 3600.0, 3.6e9, *today, *today, 3e9, *told)


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


def event(seq: int) -> EventRecord:
    """Line `seq` of the log."""
    view = EventView(seq, UnixTime(T0 + seq), "job_submitted", "ada", f"job {seq}", JobId(seq))
    return EventRecord(view)
