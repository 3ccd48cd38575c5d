"""Reports of the task library in the metrics file: the newest valid one counts."""

import json
import math
import os
from pathlib import Path

import msgspec
import pytest

from wattline.task import metrics as task_metrics
from wattline_agent.executor import memory_copies
from wattline_agent.executor.metrics import MAX_LINES_PER_LOOK, MAX_WHY_CHARS, MetricsTail
from wattline_protocol.ids import AttemptNo, JobId, TaskNo, TaskRef, UnixTime
from wattline_protocol.wire.task_reports.checkpoints import CheckpointTrouble, SavedCheckpoint
from wattline_protocol.wire.task_reports.rank_steps import MAX_RANKS, RankSteps

SAVED = SavedCheckpoint(step=12, bytes=4096, save_s=1.5, unix_s=UnixTime(1_700_000_000.0))


def checkpoint(**changes: object) -> str:
    values = {"step": 12, "bytes": 4096, "save_s": 1.5, "unix_s": 1_700_000_000.0, **changes}
    return json.dumps({"wattline": "checkpoint", **values}) + "\n"


def read(path: Path, text: str) -> MetricsTail:
    path.write_text(text)
    tail = MetricsTail(str(path))
    tail.poll()
    return tail


def test_the_newest_checkpoint_is_found(tmp_path: Path) -> None:
    tail = read(tmp_path / "m", checkpoint(step=3) + '{"metrics": {"loss": 1}}\n' + checkpoint())
    assert (tail.checkpoint, tail.latest) == (SAVED, {"loss": 1.0})


def test_it_is_found_behind_more_metrics_than_are_parsed(tmp_path: Path) -> None:
    many = '{"metrics": {"loss": 1}}\n' * (MAX_LINES_PER_LOOK + 10)
    assert read(tmp_path / "m", checkpoint() + many).checkpoint == SAVED


@pytest.mark.parametrize(
    "wrong",
    [
        {"step": -1},
        {"step": "12"},
        {"step": 1 << 70},
        {"bytes": 0.5},
        {"bytes": -1},
        {"save_s": -0.1},
        {"save_s": float("nan")},
        {"unix_s": 1e300},
        {"unix_s": None},
        {"copy_s": []},
    ],
    ids=json.dumps,
)
def test_one_out_of_bounds_is_ignored(tmp_path: Path, wrong: dict[str, object]) -> None:
    assert read(tmp_path / "m", checkpoint() + checkpoint(**wrong)).checkpoint == SAVED


def test_trouble_is_known_until_the_next_checkpoint(tmp_path: Path) -> None:
    failed = {
        "wattline": "save_failed",
        "step": 9,
        "why": "\x1b[2Jfull",
        "unix_s": 5.0,
        "in_a_row": 2,
    }
    tail = read(tmp_path / "m", checkpoint() + json.dumps(failed) + "\n")
    assert tail.checkpoint == SAVED
    assert tail.checkpoint_trouble == CheckpointTrouble(
        "save_failed", 9, "␛[2Jfull", UnixTime(5.0), 2
    )
    rejected = {"wattline": "checkpoint_rejected", "step": 9, "why": "x" * 10_000, "unix_s": 5.0}
    tail = read(tmp_path / "m", json.dumps(rejected) + "\n")
    assert tail.checkpoint_trouble is not None
    assert len(tail.checkpoint_trouble.why) == MAX_WHY_CHARS
    for text in ('{"wattline": "save_failed"}\n', '{"wattline": ["save_failed"]}\n'):
        assert read(tmp_path / "m", text).checkpoint_trouble is None
    assert read(tmp_path / "m", json.dumps(failed) + "\n" + checkpoint()).checkpoint_trouble is None


def test_a_file_that_is_full_begins_again_and_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its heartbeats had been dropped: after hours `no_progress` had ended a healthy job."""
    monkeypatch.setattr(task_metrics, "MAX_METRICS_FILE_BYTES", 300)
    monkeypatch.setenv("WATTLINE_METRICS", str(tmp_path / "m"))
    tail = MetricsTail(str(tmp_path / "m"))
    for number in range(1, 30):
        task_metrics.heartbeat()
        tail.poll()
        assert tail.marks == number
    assert (tmp_path / "m").stat().st_size < 300


def test_no_line_and_no_file_in_its_place_ends_the_agent(tmp_path: Path) -> None:
    half = "\ud83d"
    failed = {"wattline": "save_failed", "step": 9, "why": f"a{half}b", "unix_s": 5.0}
    wrong = checkpoint(**{half: 1}) + checkpoint(step=half)
    tail = read(tmp_path / "m", checkpoint() + wrong + json.dumps(failed) + "\n")
    assert tail.checkpoint == SAVED, "json spells what no message carries"
    assert tail.checkpoint_trouble is not None
    assert tail.checkpoint_trouble.why == "a?b"
    assert msgspec.msgpack.encode(tail.checkpoint_trouble)
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        tail = MetricsTail(str(other))
        tail.poll()
        assert tail.marks == 0


def test_copies_in_memory_of_an_ended_attempt_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_copies, "MEMORY", str(tmp_path))
    dead, suffix = 2**22 + 1, "0" * 16
    left = f"wattline-7.0.2-{dead}-{suffix}"
    others = (f"wattline-7.0.1-{dead}-{suffix}", f"wattline-7.0.2-{os.getpid()}-{suffix}", "else")
    for name in (left, *others):
        (tmp_path / name).mkdir()
    ref = TaskRef(JobId(7), TaskNo(0), AttemptNo(2))
    assert memory_copies.copies_of(ref) == [f"{tmp_path}/{left}"]
    monkeypatch.setattr(memory_copies, "MEMORY", str(tmp_path / "absent"))
    assert memory_copies.copies_of(ref) == []


def rank_line(**changes: object) -> str:
    steps = {"rank": 3, "pid": 7, "step": 40, "step_s": 0.5, "busy_s": 0.4, "count": 20}
    return json.dumps({"metrics": {"step": 40}, "rank": {**steps, **changes}}) + "\n"


def test_the_newest_steps_of_each_rank_are_kept(tmp_path: Path) -> None:
    lines = rank_line(step=39) + rank_line(rank=1) + rank_line()
    ranks = {one.rank: one for one in read(tmp_path / "m", lines).ranks}
    assert ranks == {
        3: RankSteps(3, 7, 40, 0.5, 0.4, 20),
        1: RankSteps(1, 7, 40, 0.5, 0.4, 20),
    }


def test_steps_out_of_bounds_and_ranks_without_end_are_ignored(tmp_path: Path) -> None:
    wrong: list[dict[str, object]] = [{"rank": -1}, {"step": 1 << 70}, {"step_s": math.nan}]
    wrong += [{"busy_s": -1}, {"count": "x"}, {"pid": None}]
    lines = "".join(rank_line(**one) for one in wrong) + '{"rank": 3, "metrics": {}}\n'
    assert read(tmp_path / "m", lines).ranks == ()
    many = "".join(rank_line(rank=rank) for rank in range(MAX_RANKS + 9)) + rank_line(step=41)
    ranks = read(tmp_path / "n", many).ranks
    assert len(ranks) == MAX_RANKS
    assert {one.rank: one.step for one in ranks}[3] == 41


def test_a_file_that_cannot_be_read_has_no_reports(tmp_path: Path) -> None:
    """As on a damaged disk: a task puts a link to such a file in its place."""
    (tmp_path / "m").symlink_to("/proc/self/mem")
    tail = MetricsTail(str(tmp_path / "m"))
    tail.poll()
    assert (tail.latest, tail.marks) == ({}, 0)
