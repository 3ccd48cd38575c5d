"""The demo's report for display."""

from rich.console import Group, RenderableType
from rich.text import Text

from wattline.demo.findings import Findings
from wattline.demo.report import DemoReport, Evidence, missing
from wattline.show import units
from wattline.show.events import line
from wattline.show.jobs import elapsed_s
from wattline.show.styles import state
from wattline.show.tables import Cell, Column, Listing, facts
from wattline_protocol.text.wording import counted, digits, energy
from wattline_protocol.views.site_views import JobView

EVENTS_SHOWN = 40
"""The newest; more would hide the rest of the report."""


def render(report: DemoReport, evidence: Evidence) -> RenderableType:
    """Everything, the verdict last."""
    findings = evidence.findings
    blank = Text("")
    return Group(
        blank,
        _heading("Jobs"),
        _jobs(list(findings.views.values())),
        blank,
        _heading("Power and cooling, by the simulator's own record"),
        _domains(report, evidence),
        blank,
        facts(_facts(report, findings)),
        blank,
        _heading("Events"),
        *(line(event) for event in findings.events[-EVENTS_SHOWN:]),
        blank,
        _verdict(report, evidence),
    )


def _heading(text: str) -> Text:
    return Text(text, style="bold underline")


def _jobs(jobs: list[JobView]) -> Listing:
    return Listing(
        columns=(
            Column("JOB", [job.name for job in jobs]),
            Column("KIND", [job.kind for job in jobs], weight=3),
            Column("STATE", [state(job.state) for job in jobs]),
            Column("ATTEMPTS", [str(job.attempt_count) for job in jobs], is_right=True, weight=4),
            Column("RUN", [units.seconds(elapsed_s(job)) for job in jobs], True),
            Column("GPU-H", [digits(job.gpu_hours) for job in jobs], is_right=True),
            Column("ENERGY", [energy(job.energy_kwh) for job in jobs], is_right=True),
            Column("COST", [units.usd(job.cost_usd) for job in jobs], is_right=True, weight=1),
            Column("BUSY", [units.share(job.utilisation) for job in jobs], True, weight=2),
            Column("VERDICT", [job.verdict for job in jobs]),
        ),
        empty="None was submitted.",
    )


def _domains(report: DemoReport, evidence: Evidence) -> Listing:
    rows = report.domains
    drawn = [evidence.truth[r.name].peak_w if r.name in evidence.truth else None for r in rows]
    return Listing(
        columns=(
            Column("DOMAIN", [row.name for row in rows]),
            Column("KIND", [row.kind for row in rows], weight=2),
            Column("BUDGET", [units.watts(row.budget_w) for row in rows], is_right=True),
            Column("COMMITTED", [units.watts(row.peak_committed_w) for row in rows], True),
            Column("MEASURED", [units.watts(row.peak_measured_w) for row in rows], True),
            Column("TRUE", [units.watts(value) for value in drawn], is_right=True, weight=1),
            Column("S OVER", [f"{row.seconds_over_budget:.0f}" for row in rows], is_right=True),
        ),
        empty="None was watched.",
    )


def _facts(report: DemoReport, findings: Findings) -> list[tuple[str, Cell]]:
    training, shed, faults = report.training, report.shed, report.faults
    accuracy = f"accuracy {training.accuracy:.4f} on the held-out tenth"
    caps = f"all caps acknowledged after {shed.acknowledged_s:.2f} s"
    after = f"{shed.seconds_over_after:.2f} s above the lowered budget in the second after it"
    lost = f"{counted(faults.scheduler_kill_lost_jobs, 'job')} lost"
    doubles = f"{faults.scheduler_kill_double_runs} double runs in {findings.starts} starts"
    return [
        ("training", f"{accuracy}, {training.world_size} processes on two nodes"),
        ("inference", _requests(report, findings)),
        ("held back by caps", f"{report.cap_bound_gpu_s:.0f} GPU-s"),
        (f"shed of {shed.requested_fraction:.0%}", f"{caps}; {after}"),
        ("agent killed", findings.agent_kill_detail or "not reached"),
        ("scheduler killed", f"{lost}, {doubles}"),
        ("took", units.seconds(findings.took_s)),
    ]


def _requests(report: DemoReport, findings: Findings) -> str:
    inference, load = report.inference, findings.load
    right = load.right if load is not None else 0
    counts = f"{inference.requests} requests answered, {right} right, {inference.errors} errors"
    return f"{counts}; p50 {inference.p50_ms:.1f} ms, p95 {inference.p95_ms:.1f} ms"


def _verdict(report: DemoReport, evidence: Evidence) -> Text:
    if report.ok:
        return Text("Everything happened as promised (simulated hardware).", style="bold green")
    listed = "\n".join(f"  - {text}" for text in missing(evidence))
    return Text(f"Not everything happened:\n{listed}", style="bold red")
