"""Whole 8-GPU servers at 1 Hz: the power division of MLPerf Inference."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from wattline_lab.fit.points import Point, fit_curve
from wattline_lab.fit.traces import Row, rows
from wattline_scheduler.power.demand.models.curves import Floats
from wattline_scheduler.power.demand.models.fitted import CurveFit, NodeModel, Phase

H200 = "h200x8_maxq_v41"
PCIE = "a100pciex8_maxq_v30"
TDP_W = 700.0
GPUS = 8
SOURCE = "MLPerf Inference v4.1, power division, NVIDIA 8 x H200 (Apache-2.0)"
PCIE_SOURCE = "MLPerf Inference v3.0, power division, NVIDIA 8 x A100 PCIe (Apache-2.0)"

GENERATING = ("gptj-99.9", "llama2-70b-99.9", "mixtral-8x7b")
"""Benchmarks that generate text: prefill and decode of many sequences at once."""

H200_IDLE_W = 75.0
A100_PCIE_IDLE_W = 40.0
A100_PCIE_TDP_W = 300.0
"""Idle draw of one GPU is not in the data; nor is the A100's limit, so its TDP stands in."""


def h200_curves(traces: Path) -> list[CurveFit]:
    """Dense work that fills the GPU, and generation."""
    known = [r for r in _runs(traces) if r["gpu_power_limit_w"]]
    generating = [r for r in known if r["bench"] in GENERATING]
    dense = [r for r in known if r["bench"] not in GENERATING]
    shared = (
        "Uncapped draw is not stated: TDP stands in for the demand. Limits of 350 to 500 W only, "
        "each benchmark at one or two of them: the slope between 500 and 700 W comes from the "
        "form. Uncapped performance is the MaxP submission on the same hardware. "
    )
    return [
        _curve("training_hot", dense, shared + "Dense inference stands in for hot training."),
        _curve("decode", generating, shared + "Prefill and decode mixed, large batches."),
    ]


def _curve(phase: Phase, runs: list[Row], note: str) -> CurveFit:
    points = [
        Point(
            job=run["bench"].removesuffix(".9").removesuffix("-99"),
            cap_w=float(run["gpu_power_limit_w"]),
            demand_w=TDP_W,
            tdp_w=TDP_W,
            performance=float(run["perf"]) / float(run["perf_uncapped_same_hw"]),
        )
        for run in runs
    ]
    return fit_curve("h200", phase, points, SOURCE, note)


def _runs(traces: Path) -> list[Row]:
    return [r for r in rows(traces / "mlperf-power-1hz" / "runs.csv") if r["system"] == H200]


def h200_node(traces: Path) -> NodeModel:
    """wall = (intercept + GPUs x limit) / efficiency, by least squares over the runs."""
    known = [r for r in _runs(traces) if r["gpu_power_limit_w"]]
    gpus_w = np.array([GPUS * float(r["gpu_power_limit_w"]) for r in known])
    wall_w = np.array([float(r["avg_wall_w"]) for r in known])
    benches = np.array([r["bench"].removesuffix(".9") for r in known])
    offset_w, slope = _line(gpus_w, wall_w)
    efficiency = 1.0 / slope
    seconds, idle_w = _seconds(traces, H200)
    base_w = idle_w * efficiency - GPUS * H200_IDLE_W
    measured = [np.array(seconds[r["bench"], r["scenario"]]) for r in known]
    unseen = np.zeros(len(known))
    for bench in set(benches):
        rest = benches != bench
        a, b = _line(gpus_w[rest], wall_w[rest])
        unseen[~rest] = a + b * gpus_w[~rest]
    return NodeModel(
        gpu="h200",
        gpus=GPUS,
        base_w=round(base_w, 1),
        cpu_w=round(offset_w * efficiency - base_w, 1),
        psu_efficiency=round(efficiency, 4),
        idle_wall_w=idle_w,
        source=SOURCE,
        note=(
            "The GPUs are taken to draw their limit while measured. The power supplies' own losses "
            "and fans that speed up are one factor. Base and CPU are told apart by the idle "
            f"seconds before and after a run, at {H200_IDLE_W:.0f} W for an idle GPU (assumed); "
            "CPU load itself is not in the data."
        ),
        mape_pct=round(_mape(offset_w + slope * gpus_w, measured), 2),
        mape_unseen_pct=round(_mape(unseen, measured), 2),
        runs=len(known),
        seconds=sum(len(m) for m in measured),
    )


def pcie_node(traces: Path, efficiency: float) -> NodeModel:
    """A server of PCIe cards, from its idle and its highest second alone."""
    seconds, idle_w = _seconds(traces, PCIE)
    base_w = idle_w * efficiency - GPUS * A100_PCIE_IDLE_W
    top_w = max(max(of_run) for of_run in seconds.values())
    return NodeModel(
        gpu="pcie",
        gpus=GPUS,
        base_w=round(base_w, 1),
        cpu_w=round(max(0.0, top_w * efficiency - GPUS * A100_PCIE_TDP_W - base_w), 1),
        psu_efficiency=efficiency,
        idle_wall_w=idle_w,
        source=PCIE_SOURCE,
        note=(
            "No GPU limit is stated for this server, so nothing is fitted: efficiency as for the "
            f"H200 server, base from the idle seconds at {A100_PCIE_IDLE_W:.0f} W an idle GPU "
            f"(assumed), CPU from the highest second at {A100_PCIE_TDP_W:.0f} W a GPU (TDP)."
        ),
    )


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    slope, offset = np.polyfit(x, y, 1)
    return float(offset), float(slope)


def _mape(predicted_w: Floats, measured: list[Floats]) -> float:
    errors = [
        np.abs(of_run - wall_w) / of_run
        for wall_w, of_run in zip(predicted_w, measured, strict=True)
    ]
    return float(100.0 * np.mean(np.concatenate(errors)))


def _seconds(traces: Path, system: str) -> tuple[dict[tuple[str, str], list[float]], float]:
    """Wall watts of each second of each run's measured window, and the least of all seconds."""
    series = rows(traces / "mlperf-power-1hz" / f"series_{system}.csv.gz")
    windows: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in series:
        if row["in_measured_window"] == "1":
            windows[row["bench"], row["scenario"]].append(float(row["wall_w"]))
    return windows, min(float(row["wall_w"]) for row in series)
