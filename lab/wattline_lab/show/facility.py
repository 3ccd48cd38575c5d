"""Output of the facility simulator."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from wattline_sim.facility.density import DensityReport
from wattline_sim.facility.judging.report import FacilityReport


def facility_result(report: FacilityReport) -> RenderableType:
    """One run as a plain table, violations below."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for word, value in _rows(report):
        table.add_row(word, value)
    broken = [Text(violation, style="bold red") for violation in report.violations]
    return Group(table, *broken)


def density_result(report: DensityReport) -> RenderableType:
    """One line a case, then the fleets that were tried."""
    table = Table(box=None, pad_edge=False)
    words = (
        "GPU",
        "population",
        "GPUs",
        "vs static",
        "throughput",
        "best",
        "uncapped",
        "equal caps",
    )
    for word in words:
        table.add_column(word)
    for case in report.cases:
        table.add_row(
            case.gpu,
            case.scenario,
            f"{case.gpus} of {case.gpus_static}",
            f"{case.gpus_vs_static:.2f}",
            f"{case.throughput_vs_static:.3f}",
            f"{case.best_throughput_vs_static:.3f} with {case.best_gpus}",
            f"{case.gpus_by_booking} booked, {case.gpus_by_drawing} drawn",
            f"{case.equal_caps_booked:.3f} booked, {case.equal_caps_drawn:.3f} drawn",
        )
    return Group(f"policy {report.policy}, seed {report.seed}, simulated", table, *_tried(report))


def _tried(report: DensityReport) -> list[str]:
    return [
        f"{case.gpu} {case.scenario}: {one.gpus} GPUs, {one.throughput:.1f} GPU-hours, "
        f"{one.refused or 'passes'}"
        for case in report.cases
        for one in case.tried
    ]


def _rows(r: FacilityReport) -> list[tuple[str, str]]:
    versus = "not compared" if r.throughput_vs_static is None else f"{r.throughput_vs_static:.3f}"
    profile = ", ".join(f"{part} {share:.0%}" for part, share in r.profile.items())
    return [
        ("run", f"{r.scenario} under {r.policy}, seed {r.seed}, {r.hours:g} h, simulated"),
        ("fleet", f"{r.nodes} nodes, {r.gpus} GPUs in service, budget {r.budget_kw:.1f} kW"),
        ("throughput", f"{r.throughput:.1f} GPU-hours, {versus} of static"),
        *((f"slowdown {name}", _quantiles(of, "")) for name, of in r.slowdown.items()),
        ("over budget", f"{r.seconds_over_budget:g} s, at most {r.max_overshoot_pct:g} %"),
        ("shed to enforced", _quantiles(r.shed_to_enforced_s, " s")),
        ("trips", str(r.trips)),
        (
            "hot",
            f"{r.hw_throttle_events} hardware throttle events, {r.max_gpu_temp_c:g} °C at most",
        ),
        ("stranded", f"{r.stranded_pct:g} % of the budget"),
        ("preempted", str(r.preempted)),
        ("violations", str(len(r.violations))),
        ("speed", f"{r.speed:g} × real time ({profile})"),
    ]


def _quantiles(of: dict[str, float], unit: str) -> str:
    return ", ".join(f"{name} {value:g}{unit}" for name, value in of.items()) or "none"
