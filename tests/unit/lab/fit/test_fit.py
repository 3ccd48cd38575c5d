"""The committed constants are what the fit script makes of the traces."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from wattline_scheduler.power.demand.models import FITTED, Fitted, parse_constants

ROOT = Path(__file__).parents[4]
TRACES = os.environ.get("WATTLINE_TRACES", "")

Numbers = dict[str, float]


def fit(*arguments: str, traces: str = "") -> subprocess.CompletedProcess[str]:
    pytest.importorskip("scipy", reason="scipy comes with the dev extra")
    return subprocess.run(
        [sys.executable, "-m", "wattline_lab.fit", *arguments],
        cwd=ROOT,
        env={**os.environ, "WATTLINE_TRACES": traces},
        capture_output=True,
        text=True,
        check=False,
    )


def numbers(fitted: Fitted) -> Numbers:
    """Every number of the constants by its place."""
    return {
        f"{table}.{at}.{key}": float(value)
        for table, entries in msgspec.to_builtins(fitted).items()
        for at, entry in enumerate(entries)
        for key, value in entry.items()
        if isinstance(value, int | float)
    }


@pytest.mark.skipif(not TRACES, reason="WATTLINE_TRACES does not name the folder of traces")
def test_the_committed_constants_reproduce(tmp_path: Path) -> None:
    out = tmp_path / "constants.toml"
    done = fit("--out", str(out), traces=TRACES)
    assert done.returncode == 0, done.stderr
    again = parse_constants(out.read_text(encoding="utf-8"))
    assert numbers(again) == pytest.approx(numbers(FITTED), rel=2e-3, abs=2e-3)


def test_missing_traces_are_named(tmp_path: Path) -> None:
    out = tmp_path / "constants.toml"
    (tmp_path / "zeus-power-limit").mkdir()
    done = fit(str(tmp_path), "--out", str(out))
    assert done.returncode == 2
    assert "lacks mlperf-power-1hz, mlenergy-inference-power" in done.stderr
    assert not out.exists()


def test_the_variable_is_named_where_no_folder_is_given() -> None:
    done = fit()
    assert done.returncode == 2
    assert "WATTLINE_TRACES" in done.stderr


def test_the_page_shows_the_constants_that_are_loaded() -> None:
    done = fit("--table")
    assert done.returncode == 0, done.stderr
    page = (ROOT / "docs" / "power.md").read_text(encoding="utf-8")
    for table in done.stdout.strip().split("\n\n"):
        assert table in page, f"docs/power.md lacks what `fit --table` prints:\n{table}"
