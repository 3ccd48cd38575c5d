"""Published results on the public lists: one seed each, so within what seeds differ by."""

import csv
import os
from functools import cache
from pathlib import Path

import pytest

from wattline_lab.replay.openb.replay import Lists, read_lists, replay

TRACES = os.environ.get("WATTLINE_TRACES", "")
OPENB = Path(TRACES) / "alibaba-openb-2023"
NODES = OPENB / "openb_node_list_gpu_node.csv"
SEED = 42

slow_beside_others = pytest.mark.timeout(600)
"""Seconds of processor time, but minutes where other work has the processors."""

needs_traces = pytest.mark.skipif(
    not TRACES,
    reason="WATTLINE_TRACES names no folder of traces; docs/replay.md says where they are",
)


@cache
def default_lists() -> Lists:
    return read_lists(OPENB / "openb_pod_list_default.csv.gz", NODES, None)


@needs_traces
@pytest.mark.parametrize(
    ("policy", "published_name", "within_pct"),
    [
        ("random", "Random", 1.2),
        ("dotprod", "DotProd", 0.8),
        ("clustering", "GpuClustering", 1.5),
        ("packing", "GpuPacking", 1.5),
        ("bestfit", "BestFit", 0.6),
        ("fgd", "FGD", 0.4),
    ],
)
def test_published_means(policy: str, published_name: str, within_pct: float) -> None:
    with (OPENB / "published_unallocated_gpu_pct_summary.csv").open(newline="") as file:
        published = {
            (row["workload"], row["policy"], row["arrived_pct"]): float(row["mean_unalloc_pct"])
            for row in csv.DictReader(file)
        }
    found = replay(default_lists(), policy, (SEED,))
    by_percent = {str(point.arrived_pct): point.unallocated_pct for point in found.curve}
    for percent in ("80", "90", "100", "130"):
        expected = published["default", published_name, percent]
        assert by_percent[percent] == pytest.approx(expected, abs=within_pct), percent


@needs_traces
@slow_beside_others
def test_the_schedulers_rank_leaves_fewer_gpus_unused_than_fgd() -> None:
    found = replay(default_lists(), "wattline", (SEED,), "fgd")
    assert found.versus is not None
    assert found.versus.mean_difference_pct < -0.2


@needs_traces
@slow_beside_others
def test_power_saved_by_the_study() -> None:
    with (OPENB / "pwr_published_savings_vs_fgd_read_off_plot.csv").open(newline="") as file:
        published = {
            int(row["arrived_pct"]): float(row["power_saving_pct_vs_fgd"])
            for row in csv.DictReader(file)
            if row["policy"] == "PWR"
        }
    found = replay(default_lists(), "pwr", (SEED,), "fgd")
    saved = {point.arrived_pct: point.power_saved_pct for point in found.curve}
    # Read off a plot within 0.5 points; a single seed adds as much again.
    for percent in (20, 40, 60, 80, 100):
        assert saved[percent] == pytest.approx(published[percent], abs=1.5), percent
