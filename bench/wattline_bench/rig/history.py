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
    at_s = FIRST_UNIX_S + number
    view = EventView(number, UnixTime(at_s), "job_submitted", "ada", f"job {number}", JobId(number))
    job = JobRecord(
        id=JobId(number),
        token=f"token-{number}",
        owner=UserName("ada"),
        submitted_unix_s=UnixTime(at_s),
        spec=SPEC,
        state="COMPLETED" if is_ended else "PENDING",
        ended_unix_s=UnixTime(at_s + RUN_S) if is_ended else None,
    )
    gang = GangRecord(
        job=JobId(number),
        gang=0,
        phase="ended" if is_ended else "pending",
        attempt=AttemptNo(1 if is_ended else 0),
        outcome="COMPLETED" if is_ended else None,
    )
    return [job, gang, EventRecord(view)]


def attempt(number: int) -> AttemptRecord:
    """The only attempt of a job that has ended."""
    start_s = FIRST_UNIX_S + number
    return AttemptRecord(
        job=JobId(number),
        task=TaskNo(0),
        attempt=AttemptNo(1),
        node=NodeId("n0000"),
        gpus=tuple(GpuIndex(index) for index in range(GPUS)),
        state="COMPLETED",
        placed_unix_s=UnixTime(start_s),
        started_unix_s=UnixTime(start_s),
        ended_unix_s=UnixTime(start_s + RUN_S),
        usage=TaskUsage(
            run_s=RUN_S,
            gpu_s=GPUS * RUN_S,
            gpu_energy_mj=int(GPUS * 500_000 * RUN_S),
            node_energy_mj=int(2_500_000 * RUN_S),
            util_gpu_s=0.8 * GPUS * RUN_S,
            cap_bound_gpu_s=0.1 * GPUS * RUN_S,
        ),
        metrics={"accuracy": 0.97},
        pid=4711,
        exit=TaskExit(kind="exited", code=0, ended_unix_s=UnixTime(start_s + RUN_S)),
    )
