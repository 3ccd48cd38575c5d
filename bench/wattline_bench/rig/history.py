"""Records of jobs as the scheduler's core would save them, and a store full of them."""

import time
from pathlib import Path

from wattline_protocol.ids import AttemptNo, GpuIndex, JobId, NodeId, TaskNo, UnixTime, UserName
from wattline_protocol.job.spec import JobSpec, Resources
from wattline_protocol.views.site_views import EventView
from wattline_protocol.wire.agent_messages import TaskExit, TaskUsage
from wattline_scheduler.records import AttemptRecord, EventRecord, GangRecord, JobRecord
from wattline_scheduler.store.store import Store
from wattline_scheduler.store.tables import Storable

FIRST_UNIX_S = 1_700_000_000.0
RUN_S = 100.0
GPUS = 4
BATCH = 5_000

SPEC = JobSpec(
    name="train",
    command=("python", "train.py", "--epochs", "30"),
    resources=Resources(nodes=1, gpus_per_node=GPUS, gpu_type=("h100",)),
    env={"SEED": "1"},
)


def fill(directory: Path, jobs: int, open_jobs: int) -> None:
    """Put `jobs` jobs on record, the newest `open_jobs` of them not ended."""
    store, _ = Store.open(directory, now_unix_s=time.time())
    for first in range(1, jobs + 1, BATCH):
        rows: list[Storable] = []
        for number in range(first, min(first + BATCH, jobs + 1)):
            is_ended = number <= jobs - open_jobs
            rows += submission(number, is_ended=is_ended)
            if is_ended:
                rows.append(attempt(number))
        store.commit(rows)
    store.close()


def submission(number: int, *, is_ended: bool = False) -> list[Storable]:
    """What one submission saves: job, gang and event."""
    ended = job(number, ended_after_s=RUN_S) if is_ended else job(number)
    return [ended, gang(number, attempt=int(is_ended), is_ended=is_ended), event(number)]


def job(number: int, *, ended_after_s: float | None = None, spec: JobSpec = SPEC) -> JobRecord:
    """Job `number`, submitted so many seconds after the first; ended with success if asked."""
    submitted_s = FIRST_UNIX_S + number
    return JobRecord(
        id=JobId(number),
        token=f"token-{number}",
        owner=UserName("ada"),
        submitted_unix_s=UnixTime(submitted_s),
        spec=spec,
        state="PENDING" if ended_after_s is None else "COMPLETED",
        ended_unix_s=None if ended_after_s is None else UnixTime(submitted_s + ended_after_s),
    )


def gang(number: int, *, attempt: int = 0, is_ended: bool = False) -> GangRecord:
    """The only gang of a job."""
    return GangRecord(
        job=JobId(number),
        gang=0,
        phase="ended" if is_ended else "pending",
        attempt=AttemptNo(attempt),
        outcome="COMPLETED" if is_ended else None,
    )


def event(number: int) -> EventRecord:
    """The line of the log about a submission."""
    at_s, job = UnixTime(FIRST_UNIX_S + number), JobId(number)
    return EventRecord(EventView(number, at_s, "job_submitted", "ada", f"job {number}", job))


def attempt(
    number: int, *, node: str = "n0000", run_s: float = RUN_S, at: float | None = None
) -> AttemptRecord:
    """The first attempt of a job's only task, ended after `run_s`."""
    start_s = FIRST_UNIX_S + number if at is None else at
    return AttemptRecord(
        job=JobId(number),
        task=TaskNo(0),
        attempt=AttemptNo(1),
        node=NodeId(node),
        gpus=tuple(GpuIndex(index) for index in range(GPUS)),
        state="COMPLETED",
        placed_unix_s=UnixTime(start_s),
        started_unix_s=UnixTime(start_s),
        ended_unix_s=UnixTime(start_s + run_s),
        usage=usage(run_s),
        metrics={"accuracy": 0.97},
        pid=4711,
        exit=TaskExit(kind="exited", code=0, ended_unix_s=UnixTime(start_s + run_s)),
    )


def usage(run_s: float) -> TaskUsage:
    """Its GPUs at 500 W and 80 %, a tenth of the time cap-bound."""
    return TaskUsage(
        run_s=run_s,
        gpu_s=GPUS * run_s,
        gpu_energy_mj=int(GPUS * 500_000 * run_s),
        node_energy_mj=int(2_500_000 * run_s),
        util_gpu_s=0.8 * GPUS * run_s,
        cap_bound_gpu_s=0.1 * GPUS * run_s,
    )
