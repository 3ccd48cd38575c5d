"""What differs between two runs. Pure."""

import re
from collections.abc import Mapping

import msgspec

from wattline.runs.run import Run, command_text
from wattline_protocol.wire.task_reports.run_records import Parameter

_PACKAGE = re.compile(r"(.+?)(==| @ )(.*)", re.DOTALL)


class Difference(msgspec.Struct, frozen=True):
    """A setting that differs; None: the run has none."""

    key: str
    a: Parameter | None
    b: Parameter | None


class MetricPair(msgspec.Struct, frozen=True):
    """The last values of a metric; None: the run has none."""

    name: str
    a: float | None
    b: float | None


class EnergyPair(msgspec.Struct, frozen=True):
    """At the wall."""

    a: float
    b: float


class RunComparison(msgspec.Struct, frozen=True):
    """Two runs, side by side."""

    a: str
    b: str
    same: tuple[str, ...]
    """Keys of equal settings."""
    different: tuple[Difference, ...]
    metrics: tuple[MetricPair, ...]
    energy_kwh: EnergyPair
    notes: tuple[str, ...] = ()
    """What is missing of either."""


def compare(a: Run, b: Run) -> RunComparison:
    """Settings key by key, and the last value of each metric."""
    of_a, of_b = settings(a), settings(b)
    same = [key for key, value in of_a.items() if key in of_b and of_b[key] == value]
    equal = frozenset(same)
    others = [key for key in dict.fromkeys((*of_a, *of_b)) if key not in equal]
    different = [Difference(key, of_a.get(key), of_b.get(key)) for key in others]
    last_a, last_b = _last(a), _last(b)
    names = sorted({*last_a, *last_b})
    notes = [f"{run.run}: {note}" for run in (a, b) for note in run.notes]
    return RunComparison(
        a.run,
        b.run,
        tuple(same),
        tuple(different),
        tuple(MetricPair(name, last_a.get(name), last_b.get(name)) for name in names),
        EnergyPair(a.energy_kwh, b.energy_kwh),
        tuple(notes),
    )


def settings(run: Run) -> dict[str, Parameter]:
    """What a run was made with, by key; without what its record lacks."""
    found: dict[str, Parameter] = {
        "kind": run.kind,
        "command": command_text(run),
        **{f"option {name}": value for name, value in run.options.items()},
        **{f"parameter {name}": value for name, value in run.parameters.items()},
        "env names": " ".join(run.env_names),
        "workdir": run.workdir,
        **_code(run),
        **_packages(run),
        "gpus": run.gpu_count,
        "nodes": len(run.nodes),
    }
    if run.gpu_models:
        found["gpu model"] = ", ".join(run.gpu_models)
    if run.mean_cap_w is not None:
        found["mean cap W"] = round(run.mean_cap_w)
    return found


def _code(run: Run) -> dict[str, Parameter]:
    code = run.code
    if code is None:
        return {}
    return {
        "commit": code.commit,
        "branch": code.branch,
        "diff": code.diff_sha256 or f"{code.diff_bytes} bytes and more",
        "untracked files": " ".join(code.untracked),
    }


def _packages(run: Run) -> Mapping[str, Parameter]:
    if run.packages is None:
        return {}
    packages = {f"package {name}": version for name, version in map(_parted, run.packages.names)}
    of_all = {"python": run.packages.version, "packages": run.packages.sha256}
    return {"interpreter": run.packages.interpreter, **of_all, **packages}


def _parted(line: str) -> tuple[str, str]:
    match = _PACKAGE.fullmatch(line)
    if match is None:
        return line, ""
    return match[1], match[3] if match[2] == "==" else f"@ {match[3]}"


def _last(run: Run) -> dict[str, float]:
    return {curve.name: curve.points[-1].value for curve in run.metrics}
