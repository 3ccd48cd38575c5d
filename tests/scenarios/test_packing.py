"""Scenario tables of packing: a site and a queue → who runs where, and why others wait.

What came of each is stored beside it. `make bless` stores what comes of them now: read the
difference in review, it is what users would see.
"""

import time
from pathlib import Path
from typing import get_args

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from support.scenario import played, waits_said
from wattline_scheduler.plan.snapshot import FilterName

HERE = Path(__file__).parent / "packing"
SCENARIOS = sorted(HERE.glob("*.toml"))


class Stories(SingleFileSnapshotExtension):
    """One text file a scenario."""

    _write_mode = WriteMode.TEXT
    _file_extension = "txt"


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clock times do not depend on the machine."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path, snapshot: SnapshotAssertion) -> None:
    assert played(path) == snapshot(extension_class=Stories)


def test_every_filter_refuses_somebody_in_a_scenario() -> None:
    said = set().union(*(waits_said(played(path)) for path in SCENARIOS))
    assert set(get_args(FilterName)) <= said
