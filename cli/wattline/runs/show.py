"""Runs as a list, in full, and side by side."""

from collections.abc import Sequence
from typing import get_args

from rich.console import Group, RenderableType
from rich.text import Text

from wattline.lists.list_of import ListOf
from wattline.runs.acts import RunRow
from wattline.runs.compare import Difference, RunComparison
from wattline.runs.export import Exported
from wattline.runs.run import Run, command_text
from wattline.show import units
from wattline.show.styles import state
from wattline.show.tables import Cell, Column, Listing, facts
from wattline_protocol.job.spec import JobKind
from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column as ListColumn
from wattline_protocol.lists.table import Table
from wattline_protocol.text.visible import visible, visible_line
from wattline_protocol.text.wording import about_size, counted, digits, energy, listed
from wattline_protocol.views.site_views import JobState
from wattline_protocol.wire.task_reports.checkpoints import SavedCheckpoint
from wattline_protocol.wire.task_reports.run_records import Curve, Parameter

METRICS_IN_LIST = 4
PACKAGES_SHOWN = 8
DIGEST_CHARS = 12
DIFF_LINES_SHOWN = 40


def table(_: float) -> Table[RunRow]:
    """The columns of runs."""
    own = ListColumn[RunRow]
    return Table(
        (
            own("run", kinds.NUMBER, lambda row: int(row.run)),
            own("name", kinds.TEXT, lambda row: row.name),
            own("kind", kinds.choice(*get_args(JobKind)), lambda row: row.kind, weight=3),
            own("user", kinds.TEXT, lambda row: row.owner, weight=2),
            own("state", kinds.choice(*get_args(JobState)), lambda row: row.state),
            own("started", kinds.TIME, lambda row: row.started_unix_s, weight=1),
            own("ended", kinds.TIME, lambda row: row.ended_unix_s, weight=6, is_usual=False),
            own("tries", kinds.NUMBER, lambda row: row.attempts, weight=5),
            own("gpu-hours", kinds.AMOUNT, lambda row: row.gpu_hours, "GPU-H", weight=4),
            own("energy", kinds.ENERGY, lambda row: row.energy_kwh, weight=2),
            own("metrics", kinds.TEXT, lambda row: _newest(row.metrics), grows=True),
        ),
        empty="No runs.",
    )


LIST = ListOf[Sequence[RunRow], RunRow](table)


def _newest(metrics: dict[str, float]) -> str:
    shown = sorted(metrics.items())[:METRICS_IN_LIST]
    return ", ".join(f"{name} {value:g}" for name, value in shown)


def detail(run: Run) -> RenderableType:
    """All of one run, the diff at its end."""
    parts: list[RenderableType] = [facts(_facts(run))]
    if run.metrics:
        parts += [Text(""), _curves(run.metrics)]
    if run.checkpoints:
        parts += [Text(""), _checkpoints(run.checkpoints)]
    parts += [Text(visible_line(f"note: {note}"), "yellow") for note in run.notes]
    if run.code is not None and run.code.diff:
        lines = run.code.diff.splitlines()
        text = "\n".join(map(visible_line, lines[:DIFF_LINES_SHOWN]))
        unshown = len(lines) - DIFF_LINES_SHOWN
        more = f"\n… {counted(unshown, 'more line')}: see --json" if unshown > 0 else ""
        parts.append(Text(f"\n{text}{more}"))
    return Group(*parts)


def _facts(run: Run) -> list[tuple[str, Cell]]:
    pairs: list[tuple[str, Cell]] = [
        ("run", f"{run.run} {run.name}"),
        ("state", state(run.state)),
        ("owner", run.owner),
        ("nodes", ", ".join(run.nodes)),
        ("started", units.clock(run.started_unix_s)),
        ("ended", units.clock(run.ended_unix_s)),
        ("run time", units.seconds(run.run_s)),
        ("command", command_text(run)),
        ("directory", run.workdir or units.NOT_KNOWN),
        ("variables", " ".join(run.env_names) or "none"),
    ]
    pairs += [(name, _pairs(values)) for name, values in _named(run) if values]
    if run.code is not None:
        pairs += [("commit", f"{run.code.commit} ({run.code.branch})"), ("changes", _changes(run))]
    if run.datasets:
        pairs.append(("data", ", ".join(run.datasets)))
    if run.packages is not None:
        one = run.packages
        pairs.append(("interpreter", f"{one.interpreter}, Python {one.version}"))
        digest, names = one.sha256[:DIGEST_CHARS], listed(one.names, PACKAGES_SHOWN, one.count)
        pairs.append(("packages", f"{one.count}, SHA-256 {digest}…: {names}"))
    models = f" {', '.join(run.gpu_models)}" if run.gpu_models else ""
    cap = units.watts(run.mean_cap_w)
    return [
        *pairs,
        ("GPUs", f"{run.gpu_count}{models}, {digits(run.gpu_hours)} GPU-h"),
        ("energy", energy(run.energy_kwh)),
        ("cap", f"{cap} in the mean, limited for {run.cap_bound_gpu_s:.0f} GPU-s"),
    ]


def _named(run: Run) -> tuple[tuple[str, dict[str, Parameter]], ...]:
    return ("parameters", run.parameters), ("seeds", run.seeds)


def _pairs(values: dict[str, Parameter]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _changes(run: Run) -> str:
    code = run.code
    if code is None or not (code.diff_bytes or code.untracked_count):
        return "none: as committed"
    untracked = f", {counted(code.untracked_count, 'untracked file')}" * bool(code.untracked_count)
    return f"{code.diff_bytes} bytes of diff{untracked}"


def _curves(curves: Sequence[Curve]) -> Listing:
    first, last = [c.points[0] for c in curves], [c.points[-1] for c in curves]
    return Listing(
        columns=(
            Column("METRIC", [curve.name for curve in curves]),
            Column("VALUES", [str(curve.count) for curve in curves], is_right=True),
            Column("KEPT", [str(len(curve.points)) for curve in curves], is_right=True, weight=3),
            Column("FIRST", [f"{point.value:g}" for point in first], is_right=True, weight=2),
            Column("LAST", [f"{point.value:g}" for point in last], is_right=True),
            Column("STEP", [f"{point.step:g}" for point in last], is_right=True, weight=1),
            Column("LOWEST", [f"{curve.lowest:g}" for curve in curves], is_right=True, weight=1),
            Column("HIGHEST", [f"{curve.highest:g}" for curve in curves], is_right=True, weight=1),
        ),
        empty="No metrics.",
    )


def _checkpoints(saved: Sequence[SavedCheckpoint]) -> Listing:
    return Listing(
        columns=(
            Column("CHECKPOINT", [f"step {one.step}" for one in saved]),
            Column("SAVED", [units.clock(one.unix_s) for one in saved]),
            Column("SIZE", [about_size(one.bytes) for one in saved], is_right=True),
            Column("TOOK", [units.seconds(one.save_s) for one in saved], is_right=True),
        ),
        empty="No checkpoints.",
    )


def comparison(found: RunComparison) -> RenderableType:
    """Differences first."""
    energies = found.energy_kwh
    sides = [("energy", energy(energies.a), energy(energies.b))]
    sides += [(pair.name, _number(pair.a), _number(pair.b)) for pair in found.metrics]
    parts: list[RenderableType] = [
        _sides(found, [(d.key, _text(d.a), _text(d.b)) for d in _telling(found.different)]),
        Text(""),
        _sides(found, sides, title="RESULT"),
        Text(f"\n{counted(len(found.same), 'setting')} the same; --json lists them", "dim"),
    ]
    parts += [Text(visible_line(f"note: {note}"), "yellow") for note in found.notes]
    return Group(*parts)


def _telling(different: Sequence[Difference]) -> list[Difference]:
    """Without the digest of the packages where their names show more: if both runs have some."""
    names = [one for one in different if one.key.startswith("package ")]
    digests = [one for one in different if one.key == "packages"]
    is_one_sided = any(None in (one.a, one.b) for one in digests)
    if is_one_sided:
        return [one for one in different if one not in names]
    return [one for one in different if not names or one not in digests]


def _sides(
    found: RunComparison, rows: Sequence[tuple[str, str, str]], title: str = "DIFFERENT"
) -> Listing:
    return Listing(
        columns=(
            Column(title, [row[0] for row in rows]),
            Column(found.a, [row[1] for row in rows], grows=True),
            Column(found.b, [row[2] for row in rows], grows=True),
        ),
        empty="No setting differs.",
    )


def _text(value: Parameter | None) -> str:
    return units.NOT_KNOWN if value is None else visible(str(value))


def _number(value: float | None) -> str:
    return units.NOT_KNOWN if value is None else f"{value:g}"


def exported(done: Exported) -> RenderableType:
    """Where it is now."""
    values = f"{counted(done.metrics, 'value')} of metrics, {counted(done.params, 'parameter')}"
    return f"Run {done.run} is run {done.mlflow_run} of experiment {done.experiment}: {values}."
