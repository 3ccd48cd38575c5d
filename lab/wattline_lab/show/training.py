"""Output of the simulation of a week of training."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from wattline_sim.training.compare import Ablations, TrainingReport


def training_result(report: TrainingReport) -> RenderableType:
    """The seeds, the ablations, then the means."""
    seeds = _table("seed", "steps/kWh", "recomputed", "fixed", "failures", "kWh", "fixed")
    for one in report.seeds:
        seeds.add_row(
            f"{one.seed}",
            f"{one.useful_steps_per_kwh_vs_fixed:.3f} ×",
            f"{one.wattline.recomputed_pct:.2f} %",
            f"{one.fixed.recomputed_pct:.2f} %",
            f"{one.node_failures}",
            f"{one.wattline.kwh:,.0f}",
            f"{one.fixed.kwh:,.0f}",
        )
    without = _table("without", "steps/kWh", "recomputed")
    for name in Ablations.__struct_fields__:
        part = getattr(report.ablations, name)
        steps = f"{part.useful_steps_per_kwh_vs_fixed:.3f} ×"
        without.add_row(name, steps, f"{part.recomputed_pct:.2f} %")
    return Group(_head(report), seeds, without, *_means(report))


def _table(*words: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for word in words:
        table.add_column(word)
    return table


def _head(r: TrainingReport) -> str:
    return (
        f"{r.days:g} days, simulated: {r.gpus} GPUs on a feed of {r.feed_kw:.1f} kW "
        f"({r.feed_share:.0%} of what they may draw), beside caps fixed at {r.fixed_cap_w} W"
    )


def _means(r: TrainingReport) -> list[str | Text]:
    lines: list[str | Text] = [
        (
            f"useful steps per kWh {r.useful_steps_per_kwh_vs_fixed:.3f} × of fixed "
            f"({r.useful_steps_per_gpu_kwh_vs_fixed:.3f} × by the energy of GPUs alone); "
            f"useful steps {r.useful_steps_vs_fixed:.3f} ×"
        ),
        f"recomputed {r.recomputed_pct:.2f} % of all work, fixed {r.fixed_recomputed_pct:.2f} %",
        f"the best caps alone: {r.caps_alone_at_best:.3f} ×",
    ]
    return lines + [Text(f"bar missed: {name}", style="bold red") for name in r.missed_bars]
