"""`wattline sim service` on a small trace: a whole report."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from wattline.failures import ActFailed
from wattline_lab.acts.service import service
from wattline_lab.show.service import service_result
from wattline_sim.facility.plant import dice
from wattline_sim.service.compare import ServiceReport


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve minutes with a hump, prompts of all lengths."""
    keys = dice.keys_of(1, 4_000)
    gaps = -np.log1p(-dice.uniform(keys, np.zeros(len(keys), np.uint64)))
    at_s = np.cumsum(gaps) * 0.2
    at_s = at_s[(dice.uniform(keys, np.ones(len(keys), np.uint64)) < 0.3 + (at_s % 240 < 120))]
    rows = [f"{at:.3f},{200 + 37 * n % 3_000},{20 + n % 200}" for n, at in enumerate(at_s)]
    path = tmp_path_factory.mktemp("traces") / "hump.csv"
    path.write_text("\n".join(["arrival_s,input_tokens,output_tokens", *rows]), encoding="utf-8")
    return path


def test_both_sides_of_one_trace(trace: Path) -> None:
    outcome = service(trace=str(trace), nodes=4, seed=1)
    report = outcome.value
    assert isinstance(report, ServiceReport)
    assert report.wattline.requests == report.fixed.requests > 1_000
    for side in (report.wattline, report.fixed):
        assert side.trips == side.seconds_over_feed == 0
        assert 2 <= side.replicas_mean <= side.replicas_most <= 4
        assert side.joules_per_1000 > 0
    assert report.joules_per_1000_vs_fixed < 1.0
    assert report.is_void == (report.fixed.missed_share < 0.01)
    assert outcome.status == int(report.is_void or bool(report.missed_bars))
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(service_result(report))
    assert "kJ for 1,000 requests" in console.export_text()


def test_a_trace_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ActFailed, match="--trace: cannot read") as refused:
        service(trace=str(tmp_path / "none.csv"), nodes=4, seed=1)
    assert refused.value.status == 2


def test_a_fleet_without_choice_is_refused(trace: Path) -> None:
    with pytest.raises(ActFailed, match="--nodes 2: give more than 2"):
        service(trace=str(trace), nodes=2, seed=1)
