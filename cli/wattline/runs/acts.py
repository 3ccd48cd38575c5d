"""Lists, shows, compares and exports runs."""

import re

import msgspec

from wattline.acts.jobs import one_number
from wattline.client import Client
from wattline.client.errors import Unavailable
from wattline.client.jobacts import selection
from wattline.exits import NOT_FOUND, USAGE
from wattline.failures import ActFailed
from wattline.runs.compare import RunComparison
from wattline.runs.compare import compare as compared
from wattline.runs.export import Exported, export_run
from wattline.runs.run import Run, run_of
from wattline_protocol.job.spec import JobKind, JobSpec
from wattline_protocol.views.site_views import JobState, JobView
from wattline_protocol.wire.task_reports.run_records import FOUND_AFTER_S

_RUN = re.compile(
    r"(?P<job>last|[0-9]{1,18})(?:\.(?P<index>[0-9]{1,9}))?(?:#(?P<attempt>[0-9]{1,18}))?"
)
JOBS_PER_ROW = 4
"""Jobs that are read at first for each row of the list: services among them, and jobs that have not
started, have no runs. Each further page is twice as long."""
HOW = "17, `last`, 12.7 for an index of an array, or 17#2 for its second attempt"


class RunRow(msgspec.Struct, frozen=True):
    """A job with runs, in a list."""

    run: str
    name: str
    kind: JobKind
    owner: str
    state: JobState
    started_unix_s: float | None
    ended_unix_s: float | None
    attempts: int
    gpu_hours: float
    energy_kwh: float
    metrics: dict[str, float]
    """Their newest values."""


def runs(
    client: Client, *, name: tuple[str, ...], user: tuple[str, ...], lines: int
) -> tuple[RunRow, ...]:
    """The newest training and batch jobs that have started once, newest last."""
    if lines < 1:
        raise ActFailed(f"--lines {lines}: expected a whole number from 1", USAGE)
    which, found = selection(name=name, user=user), list[RunRow]()
    for page in client.job_pages(which, first=JOBS_PER_ROW * lines):
        started = [job for job in page if job.kind in FOUND_AFTER_S and job.attempt_count]
        found = [*map(_row, started), *found]
        if len(found) >= lines:
            break
    return tuple(found[-lines:])


def _row(job: JobView) -> RunRow:
    return RunRow(
        str(job.id),
        job.name,
        job.kind,
        job.owner,
        job.state,
        job.started_unix_s,
        job.ended_unix_s,
        job.attempt_count,
        job.gpu_hours,
        job.energy_kwh,
        job.metrics,
    )


def show(client: Client, *, run: str) -> Run:
    """All of one run."""
    return read_run(client, run)


def compare(client: Client, *, a: str, b: str) -> RunComparison:
    """Two runs side by side."""
    return compared(read_run(client, a), read_run(client, b))


def export(client: Client, *, run: str, mlflow: str, experiment: str | None) -> Exported:
    """Write a run that has ended to an MLflow server."""
    found = read_run(client, run)
    if found.ended_unix_s is None:
        raise ActFailed(f"run {found.run} has not ended: export it then")
    return export_run(found, mlflow, experiment or found.name, client.me.site)


def read_run(client: Client, text: str) -> Run:
    """The run that `text` names, also where the node of its record cannot be reached."""
    match = _RUN.fullmatch(text)
    if match is None:
        raise ActFailed(f"{text!r} is no run: write {HOW}", USAGE)
    job = client.job(one_number(client, match["job"]))
    if job.kind not in FOUND_AFTER_S:
        raise ActFailed(f"job {job.id} is a {job.kind}: training and batch jobs have runs")
    task = _task(job, match["index"])
    size = job.spec.gang_size if job.spec is not None else 1
    tries = [a.attempt for a in job.attempts if task <= a.task < task + size]
    if not tries:
        raise ActFailed(f"run {text} has not started: job {job.id} is {job.state}", NOT_FOUND)
    attempt = int(match["attempt"] or max(tries))
    if attempt not in tries:
        raise ActFailed(f"there is no run {text}: the newest attempt is {max(tries)}", NOT_FOUND)
    try:
        record, why = client.run_record(job.id, task=task, attempt=attempt), ""
    except Unavailable as error:
        record, why = None, str(error)
    return run_of(job, task, attempt, record, why)


def _task(job: JobView, index: str | None) -> int:
    """First task of the gang."""
    spec: JobSpec | None = job.spec
    if spec is None or spec.array is None:
        if index is not None:
            raise ActFailed(f"job {job.id} is no array: write {job.id}", USAGE)
        return 0
    indices = spec.array.indices
    if index is None:
        raise ActFailed(
            f"job {job.id} is an array: write {job.id}.{indices[0]} for one of its indices",
            USAGE,
        )
    if int(index) not in indices:
        raise ActFailed(f"array {job.id} has no index {index}", NOT_FOUND)
    return indices.index(int(index)) * spec.gang_size
