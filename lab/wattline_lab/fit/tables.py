"""The constants and their errors as the tables of docs/power.md."""

from collections.abc import Sequence

from wattline_scheduler.power.demand.models.fitted import CurveFit, Draw, Fitted, Nearest, NodeModel

CURVES = (
    "GPU class",
    "phase",
    "bend",
    "order",
    "knee",
    "measured from",
    "points / kinds",
    "RMSE",
    "RMSE, unseen kind",
    "RMSE by cap/TDP",
)


def as_markdown(fitted: Fitted) -> str:
    """Four tables, separated by blank lines."""
    node_titles = ("server", "base W", "CPU W", "efficiency", "idle wall W", "runs", "seconds")
    errors = ("MAPE at 1 Hz", "MAPE, unseen benchmark")
    return "\n\n".join(
        (
            _table(CURVES, [_curve_row(c) for c in fitted.curve]),
            _table(("GPU class", "phase", "uses", "why"), _near_rows(fitted.nearest)),
            _table((*node_titles, *errors), [_node_row(n) for n in fitted.node]),
            _table(
                ("GPU", "work", "p5 / TDP", "p50 / TDP", "p95 / TDP", "configurations"),
                [_draw_row(d) for d in fitted.draw],
            ),
        )
    )


def _curve_row(c: CurveFit) -> tuple[str, ...]:
    counts = f"{c.points} / {c.jobs}"
    shape = (f"{c.bend:.3f}", f"{c.order:.3f}", f"{c.knee:.2f}", f"{c.lowest:.2f}", counts)
    errors = (f"{c.rmse:.3f}", f"{c.rmse_unseen:.3f}", f"{c.rmse_by_tdp:.3f}")
    return (c.gpu, c.phase, *shape, *errors)


def _near_rows(nearest: Sequence[Nearest]) -> list[tuple[str, ...]]:
    """One row for a class that follows another one in every phase."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for n in nearest:
        is_same = n.phase == n.use_phase
        uses = f"{n.use_gpu}, same phase" if is_same else f"{n.use_gpu} {n.use_phase}"
        rows.setdefault((n.gpu, uses, n.why), []).append(n.phase)
    return [(gpu, ", ".join(phases), uses, why) for (gpu, uses, why), phases in rows.items()]


def _node_row(n: NodeModel) -> tuple[str, ...]:
    def percent(value: float | None) -> str:
        return "not validated" if value is None else f"{value:.1f} %"

    watts = (f"{n.base_w:.0f}", f"{n.cpu_w:.0f}", f"{n.psu_efficiency:.3f}", f"{n.idle_wall_w:.0f}")
    counts = (str(n.runs), str(n.seconds))
    return (f"{n.gpus} x {n.gpu}", *watts, *counts, *map(percent, (n.mape_pct, n.mape_unseen_pct)))


def _draw_row(d: Draw) -> tuple[str, ...]:
    shares = (f"{d.p05:.2f}", f"{d.p50:.2f}", f"{d.p95:.2f}")
    return (d.gpu, d.work, *shares, str(d.configurations))


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
