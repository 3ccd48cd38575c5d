"""The accounting report."""

from rich.console import Group, RenderableType
from rich.text import Text

from wattline.show import units
from wattline.show.jobs import elapsed_s
from wattline.show.styles import state
from wattline.show.tables import Column, Listing, facts
from wattline_protocol.text.wording import counted, digits, energy
from wattline_protocol.views.report_views import DomainPeak, GroupTotals, ReportView
from wattline_protocol.views.site_views import JobView


def report(value: ReportView) -> RenderableType:
    """Totals, jobs and domains."""
    totals = facts(
        [
            ("from", units.clock(value.since_unix_s) if value.since_unix_s else "the beginning"),
            ("until", units.clock(value.until_unix_s)),
            ("site energy", energy(value.site_energy_kwh)),
            ("of it by jobs", energy(value.site_energy_kwh - value.idle_energy_kwh)),
            ("of it idle", energy(value.idle_energy_kwh)),
            ("GPU time", f"{digits(value.gpu_hours)} GPU-h"),
            ("time limited by cap", f"{value.cap_bound_gpu_s:.0f} GPU-s"),
        ]
    )
    parts: list[RenderableType] = [
        totals,
        Text(""),
        groups("ACCOUNT", value.accounts),
        Text(""),
        groups("QUEUE", value.queues),
        Text(""),
        jobs(value.jobs),
    ]
    if value.jobs_total > len(value.jobs):
        parts.append(Text(f"\nThe newest {len(value.jobs)} of {counted(value.jobs_total, 'job')}."))
    parts += [Text(""), peaks(value.domains)]
    if value.simulated:
        parts.append(Text("\nMeasured on simulated hardware."))
    return Group(*parts)


def groups(of: str, rows: tuple[GroupTotals, ...]) -> Listing:
    """Usage and cost of all jobs of each."""
    return Listing(
        columns=(
            Column(of, [g.name for g in rows]),
            Column("JOBS", [str(g.jobs) for g in rows], is_right=True),
            Column("GPU-H", [digits(g.gpu_hours) for g in rows], is_right=True),
            Column("ENERGY", [energy(g.energy_kwh) for g in rows], is_right=True),
            Column("COST", [units.usd(g.cost_usd) for g in rows], is_right=True, weight=2),
            Column("BUSY", [units.share(g.utilisation) for g in rows], is_right=True, weight=3),
        ),
        empty=f"No {of.lower()} has any use in this period.",
    )


def jobs(rows: tuple[JobView, ...]) -> Listing:
    """Usage and cost of each job."""
    return Listing(
        columns=(
            Column("JOB", [str(j.id) for j in rows], is_right=True),
            Column("NAME", [j.name for j in rows]),
            Column("KIND", [j.kind for j in rows], weight=6),
            Column("ACCOUNT", [j.account or j.owner for j in rows], weight=7),
            Column("STATE", [state(j.state) for j in rows]),
            Column("ATTEMPTS", [str(j.attempt_count) for j in rows], is_right=True, weight=5),
            Column("RUN", [units.seconds(elapsed_s(j)) for j in rows], is_right=True, weight=1),
            Column("GPU-H", [digits(j.gpu_hours) for j in rows], is_right=True),
            Column("ENERGY", [energy(j.energy_kwh) for j in rows], is_right=True),
            Column("COST", [units.usd(j.cost_usd) for j in rows], is_right=True, weight=2),
            Column("BUSY", [units.share(j.utilisation) for j in rows], is_right=True, weight=3),
            Column("VERDICT", [j.verdict for j in rows], weight=4),
        ),
        empty="No jobs in this period.",
    )


def peaks(rows: tuple[DomainPeak, ...]) -> Listing:
    """How near each domain came to its budget."""
    return Listing(
        columns=(
            Column("DOMAIN", [d.id for d in rows]),
            Column("KIND", [d.kind for d in rows], weight=1),
            Column("BUDGET", [units.watts(d.budget_w) for d in rows], is_right=True),
            Column("PEAK COMMITTED", [units.watts(d.peak_committed_w) for d in rows], True),
            Column("PEAK MEASURED", [units.watts(d.peak_measured_w) for d in rows], True),
        ),
        empty="The site file has no domains.",
    )
