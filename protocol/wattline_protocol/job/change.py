"""Changes to a submitted job: its job file with some keys replaced.

Which keys may change depends on the state of the job; the others are its identity.
"""

from collections.abc import Mapping
from typing import Literal

from wattline_protocol.job.file import JobFileError, default_text, merged_job, table_of
from wattline_protocol.job.keys import BY_NAME, OPTION_ALIASES, flag_of
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.site.labels import labels_text
from wattline_protocol.wire.bounds import CONTROL, MAX_CHANGES, MAX_FLAG_CHARS

ChangeValue = str | int | float | bool | tuple[str, ...]
Changes = Mapping[str, ChangeValue]
"""By the name of a flag of `submit`; "none" restores a key's default."""

When = Literal["open", "waiting", "untried"]
"""open: until the job has ended; waiting: while none of it has GPUs; untried: before that."""

AT_A_TIME = "at_a_time"
"""Number of indices of an array that may run; the indices themselves stay."""

NONE = "none"

WHEN: dict[str, When] = {
    "priority": "open",
    "queue": "open",
    "account": "open",
    "reservation": "open",
    AT_A_TIME: "open",
    "retries": "open",
    "grace": "open",
    "runtime": "open",
    "start_only": "open",
    "deadline": "open",
    "replicas": "open",
    "slo": "open",
    "idle_to_zero": "open",
    "cache": "open",
    "fallback": "open",
    "log_bodies": "open",
    "energy": "open",
    "cost": "open",
    "idle_gpu": "open",
    "no_progress": "open",
    "from_scratch": "open",
    "goal": "open",
    "checkpoint_every": "waiting",
    "on_isolation": "waiting",
    "stop_signal": "waiting",
    "checkpoints": "waiting",
    "gpus_per_node": "waiting",
    "gpu_type": "waiting",
    "gpu_memory_min": "waiting",
    "cpus_per_gpu": "waiting",
    "memory": "waiting",
    "same_rack": "waiting",
    "labels": "waiting",
    "watts_per_gpu": "waiting",
    "min_performance": "waiting",
    "nodes": "untried",
}
"""Keys that may change, by their names in a job file."""


def changed(spec: JobSpec, changes: Changes) -> JobSpec:
    """The job with these keys changed; the same check as at submission. Raises JobFileError."""
    if not changes or len(changes) > MAX_CHANGES:
        raise JobFileError([f"specify 1 to {MAX_CHANGES} keys to change: {_changeable()}"])
    if any(len(str(value)) > MAX_FLAG_CHARS for value in changes.values()):
        raise JobFileError([f"a value has at most {MAX_FLAG_CHARS} characters"])
    _check_signs(changes)
    table = table_of(spec)
    options: dict[str, object] = {}
    for option, value in changes.items():
        name = OPTION_ALIASES.get(option, option)
        if name not in WHEN:
            raise JobFileError([_fixed(option, name)])
        if name == AT_A_TIME:
            table["array"] = _throttled(spec, value)
        elif value in (NONE, (NONE,)):
            _take_out(table, name)
        else:
            options[option] = value
    return merged_job(table, options)


def _check_signs(changes: Changes) -> None:
    for option, value in changes.items():
        texts = value if isinstance(value, tuple) else (value,)
        for text in texts:
            control = CONTROL.search(text) if isinstance(text, str) else None
            if control:
                sign = f"U+{ord(control[0]):04X}"
                raise JobFileError([f"{flag_of(option)}: contains the control character {sign}"])


def _fixed(option: str, name: str) -> str:
    flag = f"--{option.replace('_', '-')}"
    if name in BY_NAME:
        return f"{flag}: cannot change; cancel the job and submit it again"
    return f"{flag}: no such key; {_changeable()} can change"


def _changeable() -> str:
    return ", ".join(WHEN)


def _throttled(spec: JobSpec, value: ChangeValue) -> str:
    if spec.array is None:
        raise JobFileError(["--at-a-time: the job is not an array"])
    if value != NONE and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise JobFileError([f"--at-a-time: expected a number from 1 on, or {NONE}"])
    indices = str(table_of(spec)["array"]).partition("%")[0]
    return indices if value == NONE else f"{indices}%{value}"


def _take_out(table: dict[str, object], name: str) -> None:
    key = BY_NAME[name]
    inner = table.get(key.table) if key.table else table
    if isinstance(inner, dict):
        inner.pop(name, None)


def differences(before: JobSpec, after: JobSpec) -> dict[str, tuple[str, str]]:
    """By name of the key: the old and the new value, as in a job file.

    For an absent key its default, or "none".
    """
    old, new = _flat(table_of(before)), _flat(table_of(after))
    if before.array is not None and after.array is not None:
        del old["array"], new["array"]
        old[AT_A_TIME] = str(before.array.at_a_time or NONE)
        new[AT_A_TIME] = str(after.array.at_a_time or NONE)
    names = [name for name in (*BY_NAME, AT_A_TIME) if old.get(name) != new.get(name)]
    return {name: (_shown(old, name), _shown(new, name)) for name in names}


def asked_for(spec: JobSpec) -> dict[str, dict[str, str]]:
    """By table of a job file ("" = top level) and key the values that differ from the default,
    without the environment, which may be of any size."""
    tables: dict[str, dict[str, str]] = {}
    written = {name: value for name, value in table_of(spec).items() if name != "env"}
    for name, text in _flat(written).items():
        tables.setdefault(BY_NAME[name].table, {})[name] = text
    return tables


def _shown(flat: Mapping[str, str], name: str) -> str:
    return flat[name] if name in flat else default_text(name) or NONE


def _flat(table: Mapping[str, object]) -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in table.items():
        if isinstance(value, Mapping) and name not in BY_NAME:
            flat |= _flat(value)
        else:
            flat[name] = _flag_text(name, value)
    return flat


def _flag_text(name: str, value: object) -> str:
    if name == "labels" and isinstance(value, Mapping):
        return labels_text(value.items())
    if isinstance(value, Mapping):
        return ",".join(f"{key}={_part_text(part)}" for key, part in value.items())
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _part_text(part: object) -> str:
    if isinstance(part, Mapping):  # a secret that is a variable too
        return " ".join(str(one) for one in part.values() if one is not True)
    return " ".join(map(str, part)) if isinstance(part, list | tuple) else str(part)
