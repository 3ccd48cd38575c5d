"""Training on one GPU under power limits: the Zeus traces (You et al., NSDI 2023)."""

from collections import defaultdict
from pathlib import Path

from wattline_lab.fit.points import Point, fit_curve
from wattline_lab.fit.traces import rows
from wattline_scheduler.power.demand.models.fitted import CurveFit, Phase

GPUS = ("v100", "a40", "rtx6000")

HOT_SHARE = 0.8
"""As in the scheduler: hot = this share of the top limit is drawn uncapped."""

SOURCE = "Zeus, NSDI 2023, power-limit traces (Apache-2.0): summary_power_{gpu}.csv"

Run = tuple[float, float, float]
"""Limit (W), time per epoch (s), average draw (W)."""


def zeus_curves(traces: Path) -> list[CurveFit]:
    """Hot and light training of each GPU model."""
    fits: list[CurveFit] = []
    for gpu in GPUS:
        points = training_points(traces / "zeus-power-limit" / f"summary_power_{gpu}.csv")
        phases: tuple[Phase, Phase] = ("training_hot", "training_light")
        for phase in phases:
            is_hot = phase == "training_hot"
            chosen = [p for p in points if (p.demand_w >= HOT_SHARE * p.tdp_w) == is_hot]
            fits.append(fit_curve(gpu, phase, chosen, SOURCE.format(gpu=gpu)))
    return fits


def training_points(path: Path) -> list[Point]:
    """Every run whose limit lies below what the same configuration draws at the top limit."""
    runs: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for row in rows(path):
        key = (row["dataset"], row["network"], row["batch_size"], row["optimizer"])
        run = (float(row["power_limit"]), float(row["time_per_epoch"]), float(row["average_power"]))
        runs[key].append(run)
    tdp_w = max(limit for group in runs.values() for limit, _, _ in group)
    points: list[Point] = []
    for (dataset, network, *_), group in runs.items():
        *capped, (top_w, uncapped_s, demand_w) = sorted(group)
        if top_w < tdp_w:
            continue  # never run uncapped: nothing to compare with
        points += [
            Point(f"{dataset} {network}", limit_w, demand_w, tdp_w, uncapped_s / time_s)
            for limit_w, time_s, _ in capped
            if limit_w < demand_w
        ]
    return points
