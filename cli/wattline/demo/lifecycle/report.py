"""The lifecycle's report, as JSON and for display, and its bars."""

from rich.console import Group, RenderableType
from rich.text import Text

from wattline.demo.lifecycle import plan
from wattline.demo.lifecycle.findings import LifecycleFindings
from wattline.demo.play import Report
from wattline.show import units
from wattline.show.tables import Cell, facts
from wattline_protocol.text.visible import visible
from wattline_protocol.text.wording import listed

LINEAGE = ("file", "data", "run", "checkpoint", "data", "service")
"""Kinds that the lineage must have, in this order, others between them."""


class LifecycleReport(Report, frozen=True):
    """The report, as `--json` writes it."""

    drifted_columns: tuple[str, ...]
    refusal: str
    refused_attempts: int
    """-1 = not established."""
    accuracies: dict[str, float]
    requests: int
    failed_requests: int
    canary_job: int
    served_job: int
    """0 = none."""
    right: int
    asked: int
    file_sha256: str
    lineage: tuple[str, ...]
    took_s: float
    missing: tuple[str, ...]
    simulated: bool = True
    """The GPUs and their draw; all programs, data and requests are real."""


def make_report(findings: LifecycleFindings) -> LifecycleReport:
    """`ok` only if every bar holds."""
    failed = sum(bool(one.problem) for one in findings.requests)
    attempts = findings.refused_attempts
    found = (*findings.trouble, *_missing(findings, failed))
    found += tuple(f"left over: {leftover}" for leftover in findings.leftovers)
    return LifecycleReport(
        ok=not found,
        drifted_columns=findings.columns,
        refusal=findings.refusal,
        refused_attempts=-1 if attempts is None else attempts,
        accuracies={name: round(value, 4) for name, value in findings.accuracies.items()},
        requests=len(findings.requests),
        failed_requests=failed,
        canary_job=findings.canary_job or 0,
        served_job=findings.served_job or 0,
        right=findings.right,
        asked=findings.asked,
        file_sha256=findings.file_sha256,
        lineage=findings.lineage,
        took_s=round(findings.took_s, 1),
        missing=found,
    )


def _missing(findings: LifecycleFindings, failed: int) -> list[str]:
    """Bars that do not hold, as text."""
    named = [column for column in findings.columns if column in findings.refusal]
    bars = (
        (bool(named), "the job on drifted data did not fail with its columns named"),
        (findings.refused_attempts == 0, "the job on drifted data was started"),
        (len(findings.accuracies) == len(plan.EPOCHS), "not every training became a model"),
        (
            findings.canary_job is not None and findings.canary_job == findings.served_job,
            "the canary was not promoted",
        ),
        (len(findings.requests) >= plan.FEWEST_REQUESTS, "too few requests during the rollout"),
        (not failed, f"{failed} requests failed during the rollout"),
        (findings.is_file_in_store, "the file is not in the store by its SHA-256"),
        (_is_traced(findings), "the lineage does not lead from the file to the service"),
        (findings.took_s <= plan.MOST_S, f"it took longer than {plan.MOST_S:g} s"),
    )
    return [text for holds, text in bars if not holds]


def _is_traced(findings: LifecycleFindings) -> bool:
    """Every kind of step in its order, and the service that answered at the end."""
    steps = iter(findings.lineage)
    is_whole = all(any(step.split()[0] == kind for step in steps) for kind in LINEAGE)
    return is_whole and f"job {findings.served_job}," in findings.lineage[-1]


def render(report: LifecycleReport, lineage: str) -> RenderableType:
    """Everything, the verdict last."""
    accuracies = ", ".join(f"{name} {value:.1%}" for name, value in report.accuracies.items())
    promoted = f"job {report.served_job}" if report.served_job else "none"
    pairs: list[tuple[str, Cell]] = [
        ("drifted", listed(report.drifted_columns) or "none"),
        ("job on it", report.refusal or "not seen"),
        ("models", accuracies or "none"),
        ("canary", f"promoted: {promoted}"),
        ("requests", f"{report.requests} in the rollout, {report.failed_requests} failed"),
        ("answers", f"{report.right} of {report.asked} right"),
        ("file", f"SHA-256 {report.file_sha256}"),
        ("took", units.seconds(report.took_s)),
    ]
    return Group(Text(""), facts(pairs), Text(""), Text(visible(lineage)), _verdict(report))


def _verdict(report: LifecycleReport) -> Text:
    if report.ok:
        return Text("Every bar holds (simulated GPUs; real programs).", style="bold green")
    listed_bars = "\n".join(f"  - {text}" for text in report.missing)
    return Text(f"Not every bar holds:\n{listed_bars}", style="bold red")
