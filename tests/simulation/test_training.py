"""`wattline sim training` for a few hours: a whole report."""

import io

import msgspec
import pytest
from rich.console import Console

from wattline.failures import ActFailed
from wattline_lab.acts.training import training
from wattline_lab.show.training import training_result
from wattline_sim.training.compare import TrainingReport


def test_both_sides_and_the_ablations() -> None:
    outcome = training(seeds=1, days=0.1, feed=0.85, min_performance=0.0)
    report = outcome.value
    assert isinstance(report, TrainingReport)
    assert (report.gpus, len(report.seeds)) == (128, 1)
    assert outcome.status == int(bool(report.missed_bars))
    found = msgspec.to_builtins(report)
    assert {"caps", "interval", "forecast"} <= found["ablations"].keys()
    assert (
        found["useful_steps_per_kwh_vs_fixed"]
        > found["ablations"]["goal"]["useful_steps_per_kwh_vs_fixed"]
    )
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(training_result(report))
    assert "useful steps per kWh" in console.export_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seeds": 0}, "--seeds 0: give 1 or more"),
        ({"days": 8.0}, "--days 8: give more than 0 and at most 7"),
        ({"days": float("nan")}, "--days nan: give more than 0"),
        ({"feed": 0.4}, "--feed 0.4: give 0.5 to 1"),
        ({"min_performance": 1.0}, "--min-performance 1: give 0 or more, and less than 1"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_options_out_of_range_are_refused(options: dict[str, float], said: str) -> None:
    usual = {"seeds": 1, "days": 1.0, "feed": 0.85, "min_performance": 0.0}
    with pytest.raises(ActFailed, match=said) as refused:
        training(**(usual | options))  # type: ignore[arg-type]
    assert refused.value.status == 2
