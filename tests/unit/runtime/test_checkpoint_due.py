"""When a checkpoint is due before an announced interruption (`WATTLINE_NOTICE_FILE`)."""

import json
import os
import time
from pathlib import Path

import pytest

from wattline import task
from wattline.task import due, saves


@pytest.fixture
def notice_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The notice file of this process, which has run for a while."""
    path = tmp_path / "notice"
    for name in [name for name in os.environ if name.startswith("WATTLINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WATTLINE_CHECKPOINT_DIR", str(tmp_path / "ckpt"))
    monkeypatch.setenv("WATTLINE_METRICS", str(tmp_path / "metrics.jsonl"))
    monkeypatch.setenv("WATTLINE_NOTICE_FILE", str(path))
    monkeypatch.setattr(due, "NOTICE_PERIOD_S", 0.0)
    monkeypatch.setattr(due, "clock", due.Clock())
    monkeypatch.setattr(saves, "clock", due.clock)
    due.clock.begun_s -= 1_000.0
    return path


def announce(path: Path, in_s: float) -> None:
    line = {"what": "pause", "at_unix_s": time.time() + in_s, "why": "x", "grace_s": 0.0}
    path.write_text(json.dumps(line) + "\n")


def test_a_save_is_due_once_before_an_announced_interruption(notice_file: Path) -> None:
    assert not task.should_checkpoint()
    announce(notice_file, 600.0)
    assert not task.should_checkpoint(), "there is time"
    announce(notice_file, 5.0)
    assert task.should_checkpoint(), "a first save is taken to last 10 s"
    task.save(1, b"x")
    assert not task.should_checkpoint(), "it has been made"
    due.clock.longest_s = 300.0
    due.clock.begun_s -= 1_000.0
    announce(notice_file, 400.0)
    assert task.should_checkpoint(), "its saves last five minutes"
    notice_file.unlink()
    assert not task.should_checkpoint(), "withdrawn"


@pytest.mark.parametrize("text", ["", "less power soon\n", '{"what": "pause"}', "[]", "{", "\0"])
def test_a_notice_that_is_none_is_no_reason_to_save(notice_file: Path, text: str) -> None:
    notice_file.write_text(text)
    assert task.notice() is None
    assert not task.should_checkpoint()


def test_the_time_between_two_questions_is_time_that_a_save_may_be_late() -> None:
    clock = due.Clock()
    clock.longest_s, clock.begun_s = 2.0, 0.0
    clock.asked(100.0)
    clock.asked(104.0)
    assert clock.lead_s() == 1.0 + 1.5 * (2.0 + 4.0)
    assert not clock.is_due_before(120.0, 109.9)
    assert clock.is_due_before(120.0, 110.0)
    clock.saved(110.0, 112.0)
    assert not clock.is_due_before(120.0, 119.0)
    assert clock.is_due_before(200.0, 199.0), "another interruption"
