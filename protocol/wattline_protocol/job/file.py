"""Jobs as text and as options, to and from `JobSpec`. The keys are defined in `keys`.

A job file, command line flags and Python keywords pass one check: options are laid over the file's
table, and a problem is reported with the file's line or the option's name.
"""

from collections.abc import Mapping
from numbers import Integral
from os import PathLike, fspath
from pathlib import PurePosixPath
from typing import Any

import msgspec

from wattline_protocol.job.body_log import body_log_table
from wattline_protocol.job.data_values import data_problems
from wattline_protocol.job.http_server import http_table, is_worker
from wattline_protocol.job.keys import (
    BY_NAME,
    ELSEWHERE,
    JOB_KEYS,
    NAMES,
    OPTION_ALIASES,
    TABLES,
    WRITTEN,
    JobKey,
)
from wattline_protocol.job.launch_rules import launch_problems
from wattline_protocol.job.power_goal import goal_problems
from wattline_protocol.job.recovery_values import recovery_problems
from wattline_protocol.job.scaling_values import scaling_problems, slo_table
from wattline_protocol.job.secret_values import secret_problems, secrets_table
from wattline_protocol.job.service_values import FROM_CACHE, cache_table
from wattline_protocol.job.spec import WHOLE_GPU, JobSpec, Notify, ServiceSpec
from wattline_protocol.job.values import (
    array_text,
    count_range_text,
    gpu_share_text,
    idle_table,
    moment,
)
from wattline_protocol.text.names import MAX_NAME_CHARS
from wattline_protocol.text.quantities import (
    format_cost,
    format_duration,
    format_energy,
    format_size,
)
from wattline_protocol.text.toml import KeyPath, document_text
from wattline_protocol.text.toml_fields import (
    Document,
    DocumentError,
    Fields,
    Problem,
    nearest,
    read_document,
    shown,
)

MAX_JOB_TASKS = 10_000
"""Tasks of one job: gangs x nodes."""
MAX_JOB_CHARS = 256 * 1024


class JobFileError(DocumentError):
    """A job that cannot be accepted: each line states the place, the error and a valid value."""


def parse_job(text: str, source: str, **options: object) -> JobSpec:
    """The job in `text`, with `options` (see `job_from_options`) laid over it.

    `source` names the text in errors. Raises JobFileError.
    """
    if len(text) > MAX_JOB_CHARS:
        raise JobFileError([f"{source}: over {MAX_JOB_CHARS} characters: not a job file"])
    try:
        document = read_document(text, source)
    except DocumentError as error:
        raise JobFileError(error.problems) from error
    return _job(document, options)


def job_from_options(**options: object) -> JobSpec:
    """A job from flags or keywords: the keys of a job file without their tables.

    None, False, "" and empty lists mean "not given". Also: `gpus`, `gpu_memory`, `time` as short
    names, `torchrun=True` for `how="torchrun"`, `image` alone for a container, `env`
    and `labels` as a table or a list of "NAME=VALUE".
    Raises JobFileError, naming the option.
    """
    return _job(Document({}, {}, ""), options)


def merged_job(
    table: Mapping[str, Any],
    options: Mapping[str, object],
    lines: Mapping[KeyPath, int] | None = None,
    source: str = "",
) -> JobSpec:
    """The job that a table describes with options laid over it. Raises JobFileError, with the
    lines of keys in `source` where these are known."""
    return _job(Document(dict(table), lines or {}, source), options)


def format_job(spec: JobSpec) -> str:
    """`spec` as a job file for `parse_job`; keys at their default are omitted.

    Raises ValueError for a spec that no job file can express.
    """
    return document_text(table_of(spec))


def job_problems(spec: JobSpec) -> tuple[str, ...]:
    """What `parse_job` would refuse in a spec built otherwise, e.g. received in a message."""
    problems: list[Problem] = []
    try:
        again = _checked(table_of(spec), problems)
    except (ValueError, ArithmeticError) as error:
        return (str(error),)
    if problems or again is None:
        return tuple(problem.text for problem in problems)
    return () if again == _in_one_form(spec) else (_not_as_written(spec, again),)


def _in_one_form(spec: JobSpec) -> JobSpec:
    """The spec with its deadline normalized: a date reads the same without seconds, or with `Z`."""
    windows = spec.windows
    if not windows.deadline:
        return spec
    windows = msgspec.structs.replace(windows, deadline=moment(windows.deadline))
    return msgspec.structs.replace(spec, windows=windows)


def _not_as_written(spec: JobSpec, again: JobSpec) -> str:
    """A value that no job file yields, though it reads like one that does: 1e-12 s, no name."""
    given, read = msgspec.to_builtins(spec), msgspec.to_builtins(again)
    for key in JOB_KEYS:
        value, near = _at(given, key.names), _at(read, key.names)
        if value != near:
            return (
                f"{key.path} = {shown(value)}: not a job file's value; the nearest is {shown(near)}"
            )
    return "the job is not in the form of a job file"


def table_of(spec: JobSpec) -> dict[str, Any]:
    """The job file table of `spec`, for `merged_job`. Raises ValueError."""
    written = msgspec.to_builtins(spec)
    document: dict[str, Any] = {}
    for part, default_part, keys in _DEFAULTS:
        if written[part] == default_part:
            continue  # the most frequent case, checked for each submission
        for key, default in keys:
            value = _at(written, key.names)
            if value is not None and value != default:
                table = document.setdefault(key.table, {}) if key.table else document
                table[key.name] = _as_text(key.field, value, spec)
    return document


def default_text(name: str) -> str:
    """The default of an absent key as in a job file; empty = none."""
    key, default = BY_NAME[name], JobSpec(name="", command=())
    value = _at(msgspec.to_builtins(default), key.names)
    return str(_as_text(key.field, value, default)) if value else ""


def _as_text(field: str, value: Any, spec: JobSpec) -> Any:
    if field == "array" and spec.array is not None:
        return array_text(spec.array)
    if field == "resources.gpu_share_permille":
        return gpu_share_text(value)
    if field == "limits.idle_gpu":
        return idle_table(value)
    if field == "secrets":
        return secrets_table(value)
    if field == "service.cache":
        return cache_table(value)
    if field == "service.log_bodies":
        return body_log_table(value)
    if field == "service.http":
        return http_table(value)
    if field in ("service.replicas", "resources.nodes"):
        return count_range_text(value)
    if field == "service.slo":
        return slo_table(value)
    if field.endswith("_s") and not isinstance(value, str):
        return format_duration(value)
    if field.endswith("_wh"):
        return format_energy(value)
    if field.endswith("_usd"):
        return format_cost(value)
    return format_size(value) if field.endswith("_bytes") else value


def _at(tree: dict[str, Any], names: tuple[str, ...]) -> Any:
    value: Any = tree
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _defaults() -> tuple[tuple[str, Any, list[tuple[JobKey, Any]]], ...]:
    """By field of `JobSpec` its default, and the keys stored there, each with the value that a job
    file may omit."""
    default = msgspec.to_builtins(JobSpec(name="", command=()))
    service = msgspec.to_builtins(ServiceSpec())
    default["service"] = {name: service[name] for name in ("fallback", "idle_to_zero_s", "model")}
    keys: dict[str, list[tuple[JobKey, Any]]] = {}
    for key in JOB_KEYS:
        keys.setdefault(key.names[0], []).append((key, _at(default, key.names)))
    return tuple((part, default[part], of_part) for part, of_part in keys.items())


_DEFAULTS = _defaults()


# --- Options laid over the file ---------------------------------------------------------


def _job(document: Document, options: Mapping[str, object]) -> JobSpec:
    problems: list[Problem] = []
    flags: dict[KeyPath, str] = {}
    table = {key: dict(v) if isinstance(v, Mapping) else v for key, v in document.table.items()}
    for option, given in options.items():
        value = _as_written(given)
        if not _is_absent(value):
            _merge_option(table, option, value, flags, problems)
    spec = _checked(table, problems)
    if spec is None or problems:
        raise JobFileError(_texts(problems, document, flags))
    return spec


def _as_written(value: object) -> object:
    """The value as in a file: programs pass paths, and integers of numpy."""
    match value:
        case bool():
            return value
        case Integral():
            return int(value)
        case PathLike():
            return fspath(value)
        case list() | tuple():
            return [_as_written(one) for one in value]
        case _:
            return value


def _is_absent(value: object) -> bool:
    return value is None or value is False or value == "" or value == () or value == []


def _merge_option(
    table: dict[str, Any],
    option: str,
    value: object,
    flags: dict[KeyPath, str],
    problems: list[Problem],
) -> None:
    flag = f"--{option.replace('_', '-')}"
    name = OPTION_ALIASES.get(option, option)
    if option == "torchrun":
        name, value = "how", "torchrun"
    if name not in BY_NAME:
        near = nearest(option, [*BY_NAME, *OPTION_ALIASES, "torchrun"])
        hint = f"; the nearest is --{near.replace('_', '-')}" if near else ""
        flags[(option,)] = flag
        problems.append(Problem((option,), f"no such option{hint}"))
        return
    key = BY_NAME[name]
    path = tuple(key.path.split("."))
    flags[path] = flag
    inner = table.setdefault(key.table, {}) if key.table else table
    if not isinstance(inner, dict):
        return  # the check reports the file's own problem with this table
    if name in ("env", "secrets", "labels"):
        before = inner.get(name)
        value = {**(before if isinstance(before, dict) else {}), **_pairs(value, path, problems)}
    inner[name] = value
    if name == "image":
        inner.setdefault("how", "container")


def _pairs(value: object, path: KeyPath, problems: list[Problem]) -> dict[str, object]:
    """A table unchanged, or one built from "NAME=VALUE" texts."""
    if isinstance(value, Mapping):
        return dict(value)
    pairs: dict[str, object] = {}
    for item in (
        [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else []
    ):
        name, equals, rest = str(item).partition("=")
        if equals:
            pairs[name] = rest
        else:
            expected = "NAME=ENTRY" if path == ("secrets",) else "NAME=VALUE"
            problems.append(Problem(path, f'"{item}": expected {expected}'))
    return pairs


def _texts(problems: list[Problem], document: Document, flags: Mapping[KeyPath, str]) -> list[str]:
    """Problems in the order of the file, then of the options."""

    def position(problem: Problem) -> tuple[int, str]:
        if problem.path in flags:
            return 1 << 30, f"{flags[problem.path]}: {problem.text}"
        if not document.source:
            return 0, problem.text
        return document.line(problem), document.located(problem)

    return [text for _, text in sorted(map(position, problems), key=lambda item: item[0])]


# --- The check --------------------------------------------------------------------------


def _checked(table: Mapping[str, Any], problems: list[Problem]) -> JobSpec | None:
    """The job that `table` describes; None (and `problems`) when it describes none."""
    top = Fields(table, problems)
    groups = {"": top, **{name: top.table(name) for name in TABLES}}
    for name, fields in groups.items():
        fields.may_have(NAMES[name])
    spec: dict[str, Any] = {}
    for key in JOB_KEYS:
        fields = groups[key.table]
        if key.name in fields:
            _put(spec, key.names, fields.take(key.name, key.reader, None))
    for fields in groups.values():
        fields.end(ELSEWHERE, WRITTEN)
    if "command" not in top:
        top.blame('command is missing, for example command = ["python", "train.py"]', "command")
    if spec.get("kind") == "service" and "name" not in spec:
        how = 'for example name = "echo", as an option --name echo'
        top.blame(f"a service needs a name, by which clients ask for it, {how}", "name")
    if problems:
        return None
    _complete(spec)
    job = msgspec.convert(spec, JobSpec)
    problems.extend(_contradictions(job))
    return job


def _put(tree: dict[str, Any], names: tuple[str, ...], value: Any) -> None:
    *tables, last = names
    for name in tables:
        tree = tree.setdefault(name, {})
    tree[last] = value


def _complete(spec: dict[str, Any]) -> None:
    """Defaults that depend on other keys."""
    if "name" not in spec:
        spec["name"] = name_of(spec["command"][0])
    if spec.get("kind") == "service":
        spec.setdefault("service", {})


def name_of(program: str) -> str:
    """Default job name from its program, with characters that are invalid in a name replaced."""
    base = PurePosixPath(program).name
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in base)
    return safe.lstrip("._-")[:MAX_NAME_CHARS] or "job"


def _contradictions(job: JobSpec) -> list[Problem]:
    """Keys that are valid alone and invalid together."""
    return [
        Problem(tuple(path.split(".")), text)
        for path, is_wrong, text in (
            *_of_kind(job),
            *data_problems(job),
            *recovery_problems(job),
            *scaling_problems(job),
            *launch_problems(job),
            *secret_problems(job),
            *_of_gpus(job),
            *goal_problems(job),
            ("notify_on", not job.notify.to and job.notify != Notify(), "set notify as well"),
        )
        if is_wrong
    ]


def _of_kind(job: JobSpec) -> list[tuple[str, bool, str]]:
    is_service = job.kind == "service"
    tasks = job.most_gangs * job.gang_size
    fallback = () if job.service is None else job.service.fallback
    has_cache = job.service is not None and job.service.cache is not None
    return [
        (
            "service.replicas",
            job.service is not None and not is_service,
            '[service] is for kind = "service"',
        ),
        ("service.fallback", job.name in fallback, "a service is no fallback of itself"),
        (
            "service.fallback",
            FROM_CACHE in fallback and not has_cache,
            f'"{FROM_CACHE}" needs a cache: set service.cache as well',
        ),
        (
            "service.http",
            job.service is not None and job.service.http is not None and is_worker(job.command),
            "command is a worker already: omit service.http, or specify the server's own command",
        ),
        ("array", is_service and job.array is not None, "a service has replicas and no array"),
        (
            "windows.deadline",
            is_service and bool(job.windows.deadline),
            "a service runs until it is cancelled: it cannot have a deadline",
        ),
        (
            "resources.nodes",
            is_service and job.resources.most_nodes > 1,
            "a replica of a service runs on one node; use [service] replicas for more",
        ),
        (
            "resources.nodes",
            job.resources.is_range and job.array is not None,
            "a range is for a job of one gang: write a number, or omit array",
        ),
        (
            "array" if job.array is not None else "resources.nodes",
            tasks > MAX_JOB_TASKS,
            f"{tasks} tasks; a job has at most {MAX_JOB_TASKS}",
        ),
    ]


def _of_gpus(job: JobSpec) -> list[tuple[str, bool, str]]:
    has_none = job.resources.gpus_per_node == 0
    wishes = (
        ("resources.gpu_type", bool(job.resources.gpu_type)),
        ("resources.gpu_memory_min", job.resources.gpu_memory_min_bytes > 0),
        ("resources.cpus_per_gpu", job.resources.cpus_per_gpu > 0),
        ("power.watts_per_gpu", job.power.watts_per_gpu > 0),
        ("limits.idle_gpu", job.limits.idle_gpu is not None),
    )
    is_part = job.resources.gpu_share_permille < WHOLE_GPU
    gpus, is_mig = job.resources.gpus_per_node, bool(job.resources.mig)
    return [
        (
            "resources.mig",
            is_mig and gpus != 1,
            f"a task gets one MIG device, and gpus_per_node is {gpus}: omit one of them",
        ),
        (
            "resources.mig",
            is_mig and is_part,
            "gpu_share is a share of a GPU that is not in MIG mode: omit one of them",
        ),
        (
            "limits.idle_gpu",
            is_mig and job.limits.idle_gpu is not None,
            "the driver measures no utilisation of MIG devices: limits.idle_gpu cannot apply",
        ),
        (
            "resources.gpu_share",
            is_part and gpus != 1,
            f"gpu_share is a share of one GPU, and gpus_per_node is {gpus}: omit one of them",
        ),
        *(
            (
                path,
                has_none and is_wished,
                f"{path} is about GPUs, but gpus_per_node is 0",
            )
            for path, is_wished in wishes
        ),
    ]
