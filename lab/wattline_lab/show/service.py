"""Output of the simulation of a service."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from wattline_sim.service.compare import ServiceReport
from wattline_sim.service.side import Side


def service_result(report: ServiceReport) -> RenderableType:
    """Both sides beside each other, then the ratios."""
    table = Table(box=None, pad_edge=False)
    for word in ("", "wattline", "fixed"):
        table.add_column(word)
    for (word, ours), (_, fixed) in zip(_rows(report.wattline), _rows(report.fixed), strict=True):
        table.add_row(word, ours, fixed)
    return Group(_head(report), table, *_ratios(report))


def _head(r: ServiceReport) -> str:
    return (
        f"{r.trace}, seed {r.seed}, {r.minutes} minutes, simulated: {r.gpus} GPUs on a feed of "
        f"{r.feed_kw:.1f} kW, {r.replicas_least} to {r.replicas_most} replicas, p95 of the first "
        f"token {r.slo_p95_s:g} s"
    )


def _rows(side: Side) -> list[tuple[str, str]]:
    return [
        ("requests", f"{side.requests:,}"),
        ("missed", f"{side.missed:,} ({side.missed_share:.2%})"),
        ("first token p50, p95", f"{side.first_token_p50_s:g}, {side.first_token_p95_s:g} s"),
        ("token p95", f"{side.token_p95_ms:g} ms"),
        ("kJ for 1,000 requests", f"{side.joules_per_1000 / 1e3:,.0f}"),
        ("replicas", f"{side.replicas_mean:.1f}, at most {side.replicas_most}"),
        ("W of a GPU of the service", f"{side.service_gpu_w:.0f}"),
        ("training", f"{side.training_gpu_hours:.1f} GPU-hours"),
        ("all GPUs", f"{side.fleet_kwh:.1f} kWh"),
        ("over the feed, trips", f"{side.seconds_over_feed} s, {side.trips}"),
    ]


def _ratios(r: ServiceReport) -> list[str | Text]:
    ratios = (
        f"misses {r.slo_misses_vs_fixed:.2f} ×, joules {r.joules_per_1000_vs_fixed:.2f} ×, "
        f"training {r.training_vs_fixed:.2f} × of fixed"
    )
    step = (
        f"a doubled load: more tokens after {r.step_to_more_tokens_s:g} s, "
        f"more by watts after {r.step_to_more_ability_s:g} s"
    )
    lines: list[str | Text] = [ratios, step]
    if r.is_void:
        lines.append(Text("void: fixed missed under 1 %", style="bold red"))
    return lines + [Text(f"bar missed: {name}", style="bold red") for name in r.missed_bars]
