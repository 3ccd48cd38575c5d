"""wattline.task.gang_saving: all ranks or nothing."""

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wattline import task
from wattline.task import gang_saves

FORK = multiprocessing.get_context("fork")
Block = Callable[[int, Path], object]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test is the first save of a gang."""
    for name in [name for name in os.environ if name.startswith("WATTLINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WATTLINE_METRICS", str(tmp_path / "metrics.jsonl"))
    monkeypatch.setenv("WATTLINE_CHECKPOINT_DIR", str(tmp_path / "ckpt"))
    monkeypatch.setattr(gang_saves._rounds, "begun", 0)
    return tmp_path / "ckpt"


def run_rank(rank: int, ranks: int, block: Block, timeout_s: float) -> None:
    """Ends with status 3 and its text in a file where the save raises."""
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(ranks))
    for step in (1, 2):
        try:
            with task.gang_saving(step, timeout_s=timeout_s) as path:
                block(rank, path)
        except task.CheckpointError as error:
            task.checkpoint_dir().with_name(f"error-{rank}").write_text(str(error))
            sys.exit(3)


def save(block: Block, ranks: int = 3, timeout_s: float = 60.0, *, only: int = 99) -> list[int]:
    """The exit status of each rank, those of fewer ranks than the gang has if `only`."""
    jobs = [(rank, ranks, block, timeout_s) for rank in range(min(ranks, only))]
    processes = [FORK.Process(target=run_rank, args=args) for args in jobs]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode or 0 for process in processes]


def write(rank: int, path: Path) -> None:
    (path / f"part-{rank}").write_bytes(b"x" * (rank + 1))


def names(home: Path) -> list[str]:
    return sorted(path.name for path in home.iterdir())


def test_what_all_ranks_write_is_one_checkpoint(home: Path) -> None:
    assert save(write) == [0, 0, 0]
    found = task.latest()
    assert found is not None
    assert found.step == 2
    parts = {path.name: path.stat().st_size for path in found.path.iterdir()}
    assert parts == {"part-0": 1, "part-1": 2, "part-2": 3}
    lines = home.with_name("metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]  # the first alone reports
    left = [name for name in names(home) if not name.startswith("0")]
    assert all(name.startswith(".gang-0-2-2.") for name in left)  # the newest meeting's


def test_a_rank_that_does_not_arrive_is_named_and_nothing_is_published(home: Path) -> None:
    assert save(write, only=2, timeout_s=0.5) == [3, 3]
    assert task.latest() is None
    for rank in (0, 1):
        error = home.with_name(f"error-{rank}").read_text()
        assert error == "step 1 was not saved: of 3 ranks 1 did not arrive: 2"
    assert not [name for name in names(home) if name.startswith(".saving")]


def test_a_rank_that_fails_is_named_to_all(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def fails(rank: int, path: Path) -> None:
        write(rank, path)
        if rank == 1:
            raise RuntimeError("no such layer")

    assert save(fails) == [3, 3, 3]
    assert task.latest() is None
    error = home.with_name("error-2").read_text()
    assert error == "step 1 was not saved: rank 1: RuntimeError"
    assert "this rank could not save: RuntimeError: no such layer" in capfd.readouterr().err


def test_a_disk_that_is_full_for_one_rank_ends_none(home: Path) -> None:
    def fills(rank: int, path: Path) -> None:
        write(rank, path)
        if rank == 1:
            Path("/dev/full").write_bytes(b"x")

    assert save(fills) == [0, 0, 0]
    assert task.latest() is None
    lines = home.with_name("metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["in_a_row"] for line in lines] == [1, 2]


def test_two_files_of_one_name_are_refused(home: Path) -> None:
    def same(rank: int, path: Path) -> None:
        (path / "weights").write_bytes(b"x")

    assert save(same, ranks=2) == [3, 3]
    assert task.latest() is None
    error = home.with_name("error-0").read_text()
    assert error == "step 1 was not saved: ranks 0 and 1 both wrote data/weights"


def test_two_writers_of_one_rank_publish_nothing(home: Path) -> None:
    meeting = gang_saves.Meeting(home, attempt=0, round=1, step=1)
    home.mkdir()
    gang_saves._arrive(meeting, 1, gang_saves.Arrival(".saving-0-0-1-ab", ()))

    def last_one_waits(rank: int, path: Path) -> None:
        write(rank, path)
        while rank == 2 and not meeting.path("twice").exists():
            time.sleep(0.01)

    assert save(last_one_waits) == [3, 3, 3]
    assert task.latest() is None
    assert "two processes save as the same rank" in home.with_name("error-2").read_text()
    assert "another process saves step 1 as rank 1" in home.with_name("error-1").read_text()
