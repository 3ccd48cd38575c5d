"""Jobs as traces tell them, whatever the format.

A file says by its header what it is. Everything is in seconds and GPUs from here on.
"""

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OVERHEAD_FILE = "restart_overhead_s.csv"
OVERHEAD_ABSENT_S = 10.0
MURI_STEP_FACTOR = 1.015
"""What a step takes over the trace's figure in Muri's protocol."""


class TraceUnreadable(Exception):
    """A file that is not there, or not a trace of jobs."""


@dataclass(frozen=True, slots=True)
class TraceJob:
    """One job. What a scheduler may know at submission is all but `steps` and `step_s`."""

    id: int
    gpus: int
    submit_s: float
    steps: float
    step_s: float
    kind: str
    """What its user would repeat in the next job of the kind: model and batch size."""
    account: str = ""
    deadline_s: float | None = None
    """In the trace's time, of those that have one."""
    overhead_s: float = 0.0
    """Lost where it is started, in the sense of the trace's protocol."""

    @property
    def duration_s(self) -> float:
        """On an empty cluster, without overhead."""
        return self.steps * self.step_s


Overheads = dict[tuple[int, str], float]


def read_overheads(path: Path) -> Overheads:
    """Seconds by GPUs and model. Raises TraceUnreadable."""
    try:
        return {
            (int(row["num_gpu"]), row["model_name"]): float(row["overhead_s"]) for row in rows(path)
        }
    except (KeyError, ValueError) as error:
        raise TraceUnreadable(f"{path}: not a table of restart overheads: {error}") from error


def read_muri(path: Path, overheads: Overheads) -> list[TraceJob]:
    """A trace in Muri's format, by submission. Raises TraceUnreadable."""
    try:
        jobs = [_muri_job(row, overheads) for row in rows(path)]
    except (KeyError, ValueError) as error:
        raise TraceUnreadable(f"{path}: not a trace in Muri's format: {error}") from error
    if not jobs:
        raise TraceUnreadable(f"{path}: no jobs")
    return sorted(jobs, key=lambda job: job.submit_s)


def _muri_job(row: dict[str, str], overheads: Overheads) -> TraceJob:
    gpus, model = int(row["num_gpu"]), row["model_name"]
    return TraceJob(
        id=int(row["job_id"]),
        gpus=gpus,
        submit_s=float(row["submit_time"]) / 1000,
        steps=float(row["iterations"]),
        step_s=float(row["iteration_time"]) / 1000 * MURI_STEP_FACTOR,
        kind=f"{model} {row['batch_size']}",
        overhead_s=overheads.get((gpus, model), OVERHEAD_ABSENT_S),
    )


def rows(path: Path) -> Iterator[dict[str, str]]:
    """Lines of a table, packed or not. Raises TraceUnreadable."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise TraceUnreadable(f"cannot read {path}: {error}") from error
