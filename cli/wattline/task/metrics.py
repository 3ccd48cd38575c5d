"""Numbers and reports of this process: lines of JSON in the file `WATTLINE_METRICS`."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import time
from pathlib import Path

from .steps import step_ended

MAX_METRICS_PER_CALL = 64
MAX_METRIC_NAME_CHARS = 100
MAX_PARAMETERS_PER_CALL = 100
MAX_PARAMETER_CHARS = 500
MAX_METRICS_FILE_BYTES = 64 * 1024 * 1024
"""At that size it begins again: a loop that reports too often must not fill the disk, and a program
whose reports were dropped would look as if it made no progress. The agent has read the others."""


def metric(**values: float) -> None:
    """Report numbers; the newest of each name is shown with the job. `step` is the step that has
    ended: where each rank of a gang reports it, a rank that is slower than the others is found.

    One line of JSON in WATTLINE_METRICS, appended in one write, so several processes may report. A
    value that is not finite is only named in the line: JSON has no such number.
    """
    if not values or len(values) > MAX_METRICS_PER_CALL:
        raise ValueError(f"{len(values)} metrics at once; 1 to {MAX_METRICS_PER_CALL} are taken")
    if too_long := [name for name in values if len(name) > MAX_METRIC_NAME_CHARS]:
        raise ValueError(f"metric names over {MAX_METRIC_NAME_CHARS} characters: {too_long}")
    numbers = {name: float(value) for name, value in values.items()}
    line: dict[str, object] = {
        "unix_s": round(time.time(), 3),
        "metrics": {name: value for name, value in numbers.items() if math.isfinite(value)},
    }
    if not_finite := [name for name, value in numbers.items() if not math.isfinite(value)]:
        line["not_finite"] = not_finite
    if "step" in numbers and (steps := step_ended(numbers["step"])) is not None:
        line["rank"] = steps
    _append_line(json.dumps(line))


def progress(fraction: float, **values: float) -> None:
    """Report the completed share of the work, from 0 to 1, optionally with other metrics."""
    metric(progress=min(1.0, max(0.0, fraction)), **values)


def parameters(**values: object) -> None:
    """Record settings of this run, as in `parameters(lr=3e-4, seed=1)`: `wattline runs` shows and
    compares them. Texts, numbers and booleans; other values are recorded as their text."""
    if not values or len(values) > MAX_PARAMETERS_PER_CALL:
        raise ValueError(f"{len(values)} parameters at once; 1 to {MAX_PARAMETERS_PER_CALL} fit")
    if too_long := [name for name in values if len(name) > MAX_METRIC_NAME_CHARS]:
        raise ValueError(f"parameter names over {MAX_METRIC_NAME_CHARS} characters: {too_long}")
    report("parameters", values={name: _parameter(value) for name, value in values.items()})


def _parameter(value: object) -> str | bool | int | float:
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, int) and abs(value) < 2**63:
        return value
    return str(value)[:MAX_PARAMETER_CHARS]


def heartbeat() -> None:
    """Report that the work makes progress, where there is nothing to measure: `metric` and
    `progress` imply it. Needed more often than the job's `recovery.no_progress`."""
    report("heartbeat")


def report(kind: str, **values: object) -> None:
    """Report something other than a metric to the agent: one line, as `metric` writes it."""
    line = {"wattline": kind, "unix_s": round(time.time(), 3), **values}
    with contextlib.suppress(OSError):  # what it reports is done, or has failed, all the same
        _append_line(json.dumps(line))


def _append_line(text: str) -> None:
    path = Path(os.environ.get("WATTLINE_METRICS") or ".wattline/metrics.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o644)
    try:
        if os.fstat(descriptor).st_size + len(text) >= MAX_METRICS_FILE_BYTES:
            os.ftruncate(descriptor, 0)
        os.write(descriptor, text.encode() + b"\n")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):  # a full disk ends no training
            raise
    finally:
        os.close(descriptor)
