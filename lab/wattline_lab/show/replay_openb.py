"""Figures of a list that filled a fleet."""

from rich.console import Group, RenderableType
from rich.table import Table

from wattline.show.tables import facts
from wattline_lab.replay.openb.result import OpenbReport, Point, Versus


def openb_report(r: OpenbReport) -> RenderableType:
    """The mean, each seed, and the parameters."""
    lines = [
        ("policy", r.policy),
        ("unallocated", f"{r.mean_unallocated_pct:.3f} % of GPUs, mean of {len(r.seeds)} seeds"),
        ("seeds", ", ".join(f"{one.seed}: {one.unallocated_pct:.2f}" for one in r.seeds)),
    ]
    if r.versus is not None:
        lines.append((f"against {r.versus.policy}", _versus(r.versus, len(r.seeds))))
    return Group(facts(lines), "", _curve(r.curve))


def _versus(v: Versus, seeds: int) -> str:
    return (
        f"{v.mean_difference_pct:+.3f} ± {v.ci95_pct:.3f} points (95 %, by seed), "
        f"it has {v.mean_unallocated_pct:.3f} %; better on {v.seeds_better} of {seeds} seeds"
    )


def _curve(points: list[Point]) -> Table:
    table = Table(box=None, pad_edge=False)
    for word in ("ARRIVED %", "UNALLOCATED %", "PLACED %", "POWER kW", "SAVED %"):
        table.add_column(word, justify="right")
    for p in points:
        power = "-" if p.power_kw is None else f"{p.power_kw:.1f}"
        saved = "-" if p.power_saved_pct is None else f"{p.power_saved_pct:.2f}"
        table.add_row(
            str(p.arrived_pct), f"{p.unallocated_pct:.2f}", f"{p.placed_pct:.2f}", power, saved
        )
    return table
