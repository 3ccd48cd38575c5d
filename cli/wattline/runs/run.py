"""A run: one attempt of a job or of an index of an array, with what was recorded of it. Pure."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import msgspec

from wattline_protocol.job.spec import JobKind, JobSpec
from wattline_protocol.text.wording import counted
from wattline_protocol.views.site_views import AttemptView, JobState, JobView
from wattline_protocol.wire.task_order import MJ_PER_KWH, TaskUsage
from wattline_protocol.wire.task_reports.checkpoints import SavedCheckpoint
from wattline_protocol.wire.task_reports.run_records import (
    BadRecord,
    Code,
    Curve,
    Inventory,
    Packages,
    Parameter,
    RunRecord,
    RunReport,
    inventory_in,
    report_in,
)

_SEED = re.compile(r"(?<![A-Za-z])seeds?(?![A-Za-z])", re.IGNORECASE)
"""A word of a name: `seed`, `--data-seed`, `torch_seed`, not `speed` or `seedling`."""
_ASSIGNED = re.compile(r"(\+{0,2}[A-Za-z_][\w.@/-]*)=(.*)", re.DOTALL)
"""An argument as Hydra takes it."""


class Run(msgspec.Struct, frozen=True):
    """What is known of a run. Values of variables are never part of it."""

    run: str
    """`17#2`, `12.7#1`."""
    job: int
    attempt: int
    index: int | None
    """Of an array."""
    name: str
    kind: JobKind
    owner: str
    state: JobState
    nodes: tuple[str, ...]
    started_unix_s: float | None
    ended_unix_s: float | None
    run_s: float
    command: tuple[str, ...]
    options: dict[str, str]
    """Of the command: `--lr 0.1`, `--lr=0.1`, `lr=0.1`."""
    env_names: tuple[str, ...]
    workdir: str
    parameters: dict[str, Parameter]
    seeds: dict[str, Parameter]
    code: Code | None
    packages: Packages | None
    gpu_count: int
    gpu_models: tuple[str, ...]
    gpu_hours: float
    energy_kwh: float
    mean_cap_w: float | None
    """Of its GPUs, over the time in which the cap was known."""
    cap_bound_gpu_s: float
    metrics: tuple[Curve, ...]
    notes: tuple[str, ...] = ()
    """What is missing or was dropped, and why."""
    datasets: tuple[str, ...] = ()
    """Versions that it read."""
    checkpoints: tuple[SavedCheckpoint, ...] = ()
    """The newest that it published, the oldest of them first."""


def run_of(job: JobView, task: int, attempt: int, record: RunRecord | None, why: str = "") -> Run:
    """The run of the attempt of the gang that `task` is the first of. `why`: there is no record.
    Raises LookupError where the job has no such attempt."""
    spec = job.spec
    if spec is None:
        raise LookupError(f"job {job.id} has no job file on record")
    of_gang = range(task, task + spec.gang_size)
    members = [a for a in job.attempts if a.attempt == attempt and a.task in of_gang]
    if not members:
        raise LookupError(f"job {job.id} has no attempt {attempt} of task {task}")
    report, inventory, notes = _decoded(record, why)
    options = options_of(spec.command)
    usages = [member.usage for member in members]
    cap_s = sum(usage.cap_gpu_s for usage in usages)
    index = _index(spec, task)
    return Run(
        run=name_of(job.id, index, attempt),
        job=job.id,
        attempt=attempt,
        index=index,
        name=job.name,
        kind=job.kind,
        owner=job.owner,
        state=members[0].state,
        nodes=tuple(member.node for member in members),
        started_unix_s=min(filter(None, (m.started_unix_s for m in members)), default=None),
        ended_unix_s=_ended(members),
        run_s=max(usage.run_s for usage in usages),
        command=spec.command,
        options=options,
        env_names=tuple(sorted(spec.env)),
        workdir=spec.workdir or spec.submit_dir,
        parameters=report.parameters,
        seeds=seeds_of(options, report.parameters),
        code=inventory.code,
        packages=inventory.packages,
        gpu_count=sum(len(member.gpus) for member in members),
        gpu_models=tuple(sorted(set(report.gpus))),
        gpu_hours=sum(usage.gpu_s for usage in usages) / 3600,
        energy_kwh=sum(usage.node_energy_mj for usage in usages) / MJ_PER_KWH,
        mean_cap_w=_total_cap_mj(usages) / 1000 / cap_s if cap_s else None,
        cap_bound_gpu_s=sum(usage.cap_bound_gpu_s for usage in usages),
        metrics=report.curves,
        notes=(*notes, *_dropped(report), *inventory.notes),
        datasets=spec.data.datasets,
        checkpoints=report.checkpoints,
    )


def name_of(job: int, index: int | None, attempt: int) -> str:
    """As users name it."""
    return f"{job}#{attempt}" if index is None else f"{job}.{index}#{attempt}"


def _total_cap_mj(usages: Sequence[TaskUsage]) -> int:
    return sum(usage.cap_gpu_mj for usage in usages)


def _index(spec: JobSpec, task: int) -> int | None:
    return None if spec.array is None else spec.array.indices[task // spec.gang_size]


def _ended(members: Sequence[AttemptView]) -> float | None:
    ends = [member.ended_unix_s for member in members]
    return max(end for end in ends if end is not None) if None not in ends else None


def _decoded(record: RunRecord | None, why: str) -> tuple[RunReport, Inventory, list[str]]:
    """Both parts; an empty one for what is missing or damaged, with a note."""
    report, inventory, notes = RunReport(), Inventory(), [why] if why else []
    if record is None:
        return report, inventory, notes
    if record.note:
        notes.append(record.note)
    try:
        report = report_in(record.report) if record.report else report
    except BadRecord as error:
        notes.append(f"parameters and metrics are damaged: {error}")
    try:
        inventory = inventory_in(record.inventory) if record.inventory else inventory
    except BadRecord as error:
        notes.append(f"code and packages are damaged: {error}")
    return report, inventory, notes


def _dropped(report: RunReport) -> Iterator[str]:
    if report.inventory_note:
        yield f"no code and packages: {report.inventory_note}"
    if report.dropped_parameters:
        yield f"{counted(report.dropped_parameters, 'parameter')} dropped: too many or too long"
    if report.dropped_values:
        values = counted(report.dropped_values, "value")
        yield f"{values} dropped, of metrics beyond the first {len(report.curves)}"
    if report.dropped_checkpoints:
        older = counted(report.dropped_checkpoints, "older checkpoint")
        yield f"{older} not listed: the newest {len(report.checkpoints)} are"
    if report.unread_bytes:
        unread = f"{report.unread_bytes} bytes of metrics were not read"
        yield f"{unread}: written too fast, or before a restart of the agent"


def options_of(command: Sequence[str]) -> dict[str, str]:
    """Options of a command with their values; of one given twice the last."""
    found: dict[str, str] = {}
    for word, after in pairwise((*command[1:], "-")):
        if assigned := _ASSIGNED.fullmatch(word.lstrip("-")):
            found[word[: len(word) - len(word.lstrip("-"))] + assigned[1]] = assigned[2]
        elif word.startswith("--") and len(word) > len("--"):
            found[word] = "" if after.startswith("-") and not _is_number(after) else after
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def seeds_of(
    options: Mapping[str, str], parameters: Mapping[str, Parameter]
) -> dict[str, Parameter]:
    """Those options and parameters whose name has the word."""
    both: dict[str, Parameter] = {**options, **parameters}
    return {name: value for name, value in both.items() if _SEED.search(name.replace("_", "-"))}


def command_text(run: Run) -> str:
    """As a shell takes it."""
    return shlex.join(run.command)
