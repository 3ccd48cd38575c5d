"""The log of the scheduler on stderr."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from wattline_scheduler.shell.logs import log_to_stderr


@pytest.fixture(autouse=True)
def _configured() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_a_line_is_one_object_of_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "log").open("w+") as file:
        monkeypatch.setattr(sys, "stderr", file)
        log_to_stderr(as_json=False)
        structlog.get_logger().warning("step_slow", seconds=1.5)
        file.seek(0)
        line = json.loads(file.read())
    assert (line["event"], line["level"], line["seconds"]) == ("step_slow", "warning", 1.5)


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_a_full_disk_loses_lines_and_raises_nothing(
    level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Path("/dev/full").open("w", buffering=1)  # noqa: SIM115 - its close raises
    monkeypatch.setattr(sys, "stderr", full)
    log_to_stderr(as_json=True)
    getattr(structlog.get_logger(), level)("step_slow", seconds=1.5)
    with pytest.raises(OSError, match="No space left"):
        full.close()
