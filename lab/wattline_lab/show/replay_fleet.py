"""Figures of a replayed fleet."""

from rich.console import RenderableType

from wattline.show.tables import facts
from wattline_lab.replay.fleet.result import FleetReport


def fleet_report(r: FleetReport) -> RenderableType:
    """One line a figure."""
    fleet = f"{r.gpus:,} GPUs on {r.nodes:,} nodes"
    budget = f"{r.budget:.0%} of TDP, {r.budget_kw:,.0f} kW with hosts"
    jct = r.jct_s
    due = f"{r.deadline_misses:,} of {r.deadlines:,} missed" if r.deadlines else "none"
    error = r.share_error_pct
    return facts(
        [
            ("run", f"{r.jobs:,} jobs of {r.accounts} accounts under {r.policy}, seed {r.seed}"),
            ("fleet", f"{fleet}; work counts its {r.admission}"),
            ("budget", budget),
            ("asked for", f"{r.asked_share:.1%} of GPU time in {r.days:g} days"),
            ("completion", f"mean {jct.mean:,.0f} s, p50 {jct.p50:,.0f}, p99 {jct.p99:,.0f}"),
            ("mean wait", f"{r.wait_s_mean:,.0f} s"),
            ("utilisation", f"{r.utilisation:.1%} of GPU time held, {r.work_share:.1%} got done"),
            ("stranded", f"{r.stranded_gpus:,.0f} GPUs, {r.stranded_kw:,.0f} kW"),
            ("drawn", f"{r.drawn_kw:,.0f} kW"),
            ("deadlines", due),
            ("share error", f"at most {error.max:.2f} % of a day, mean {error.mean:.3f} %"),
            ("makespan", f"{r.makespan_s:,.0f} s"),
            ("left out", f"{r.left_out} jobs"),
        ]
    )
