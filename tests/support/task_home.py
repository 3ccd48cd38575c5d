"""The environment of a program that runs as a task, with directories of one test."""

import os
from pathlib import Path

import pytest

from wattline.task import stop_notice


def as_first_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh first attempt of task 0: nothing of the test run's own environment is left."""
    for name in [name for name in os.environ if name.startswith("WATTLINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WATTLINE_CHECKPOINT_DIR", str(tmp_path / "ckpt"))
    monkeypatch.setenv("WATTLINE_METRICS", str(tmp_path / "metrics.jsonl"))
    monkeypatch.setenv("WATTLINE_STOP_FILE", str(tmp_path / "stop"))
    monkeypatch.setattr(stop_notice._stop, "asked", False)
