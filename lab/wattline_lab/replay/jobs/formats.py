"""Which trace a file is, and the cluster that its protocol runs it on."""

from dataclasses import dataclass
from pathlib import Path

from wattline_lab.replay.jobs.trace import TraceJob, TraceUnreadable, rows

VC_FILE = "vc_nodes.csv"
CHRONUS_NODES = 120
"""Of 8 GPUs: the cluster of Chronus's authors (SoCC 2021)."""

ONE = ""
"""The cluster that all accounts share."""

MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Queue:
    """Jobs by submission, and nodes by virtual cluster."""

    jobs: list[TraceJob]
    nodes: dict[str, int]

    def cluster_of(self, job: TraceJob) -> str:
        """Where the job waits."""
        return ONE if ONE in self.nodes else job.account


def is_philly(columns: set[str]) -> bool:
    """Whether it is Philly's log of 2017."""
    return {"submit_s", "duration_s", "num_gpus", "vc"} <= columns


def is_chronus(columns: set[str]) -> bool:
    """Whether it is a trace with Chronus's deadlines."""
    return {"expect_time_list", "best_effort"} <= columns


def columns_of(path: Path) -> set[str]:
    """Names in the first line. Raises TraceUnreadable."""
    return set(next(iter(rows(path)), {}))


def read_philly(path: Path) -> Queue:
    """Virtual clusters are as large as the table beside the trace says. Raises TraceUnreadable."""
    sizes = path.parent / VC_FILE
    try:
        nodes = {row["vc"]: int(row["node num"]) for row in rows(sizes)}
        jobs = [
            TraceJob(
                id=number,
                gpus=int(row["num_gpus"]),
                submit_s=float(row["submit_s"]),
                steps=float(row["duration_s"]),
                step_s=1.0,
                kind="",
                account=row["vc"],
            )
            for number, row in enumerate(rows(path))
        ]
    except (KeyError, ValueError) as error:
        raise TraceUnreadable(f"{path}, {sizes}: not Philly's tables: {error}") from error
    return Queue(sorted(jobs, key=lambda job: job.submit_s), nodes)


def read_chronus(path: Path) -> Queue:
    """Raises TraceUnreadable."""
    try:
        jobs = [_chronus_job(row) for row in rows(path)]
    except (KeyError, ValueError) as error:
        raise TraceUnreadable(f"{path}: not a trace of Chronus: {error}") from error
    return Queue(sorted(jobs, key=lambda job: job.submit_s), {ONE: CHRONUS_NODES})


def _chronus_job(row: dict[str, str]) -> TraceJob:
    submit_s = float(row["submit_time"]) * MINUTE_S
    due_s = submit_s + float(row["expect_time_list"]) * MINUTE_S
    return TraceJob(
        id=int(row["job_id"]),
        gpus=int(row["num_gpu"]),
        submit_s=submit_s,
        steps=float(row["duration"]) * MINUTE_S,
        step_s=1.0,
        kind=row["model_name"],
        account=row["user"],
        deadline_s=None if row["best_effort"] == "1" else due_s,
    )
