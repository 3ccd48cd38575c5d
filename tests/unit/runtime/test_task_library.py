"""wattline.task: checkpoints survive anything, metrics add up, stop notices arrive."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.task_home import as_first_attempt
from wattline import task
from wattline.task import due, metrics, stop_notice
from wattline.task.manifest import MANIFEST


@pytest.fixture(autouse=True)
def as_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test is a fresh first attempt of task 0 with directories of its own."""
    as_first_attempt(tmp_path, monkeypatch)
    monkeypatch.setattr(stop_notice._stop, "checked_s", -math.inf)
    monkeypatch.setattr(due.clock, "saved_s", time.monotonic())
    return tmp_path


def steps() -> list[int]:
    return [c.step for c in task.checkpoints() if isinstance(c, task.Checkpoint)]


def test_a_saved_checkpoint_is_the_latest() -> None:
    assert task.latest() is None
    saved = task.save(7, b"weights", about={"accuracy": 0.5})
    found = task.latest()
    assert found is not None
    assert found == saved
    assert found.step == 7
    assert found.path.read_bytes() == b"weights"
    assert found.about == {"accuracy": 0.5}


def test_a_directory_can_be_saved() -> None:
    with task.saving(1) as path:
        (path / "layers").mkdir(parents=True)
        (path / "layers" / "0.bin").write_bytes(b"a")
        (path / "config.json").write_text("{}")
    found = task.latest()
    assert found is not None
    assert (found.path / "layers" / "0.bin").read_bytes() == b"a"


def test_a_callable_writes_to_the_path_it_gets() -> None:
    saved = task.save(1, lambda path: path.write_text("x"))
    assert saved is not None
    assert saved.path.read_text() == "x"


def test_only_the_newest_are_kept(as_task: Path) -> None:
    for step in range(1, 6):
        task.save(step, b"x", keep=2)
    assert steps() == [5, 4]
    assert len(list((as_task / "ckpt").iterdir())) == 2


def rewrite(directory: Path, change: Callable[[list[str]], list[str]]) -> None:
    lines = (directory / MANIFEST).read_text().splitlines(keepends=True)
    (directory / MANIFEST).write_text("".join(change(lines)))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda d: (d / "data").write_bytes(b"other22"), "checksum"),
        (lambda d: (d / "data").write_bytes(b"half"), "4 bytes, not 7"),
        (lambda d: (d / "data").unlink(), "FileNotFoundError: "),
        (lambda d: (d / MANIFEST).write_text('{"format": 2, "st'), "cut off"),
        (lambda d: (d / MANIFEST).write_text('{"format": 2, "st\n'), "JSONDecodeError"),
        (lambda d: (d / MANIFEST).write_text('{"format": 5}\n'), "has format 5; 4 is the newest"),
        (lambda d: (d / MANIFEST).write_text("[]\n"), "TypeError"),
        (lambda d: (d / MANIFEST).write_text(""), "the manifest is empty"),
        (lambda d: (d / MANIFEST).unlink(), "FileNotFoundError"),
        (lambda d: (d / MANIFEST).write_bytes(b"\xff\xfe\x00\n"), "Unicode"),
        (lambda d: rewrite(d, lambda lines: lines[:1]), "lists 0 of 1 files"),
        (lambda d: rewrite(d, lambda lines: [*lines, lines[1]]), "lists 2 of 1 files"),
        (lambda d: rewrite(d, lambda one: [one[0], one[1].replace("da", "../da")]), "no file"),
    ],
)
def test_a_corrupt_newest_checkpoint_is_passed_over_with_the_reason(
    damage: Callable[[Path], object], reason: str
) -> None:
    task.save(1, b"weights")
    newest = task.save(2, b"weights")
    assert newest is not None
    damage(newest.path.parent)
    rejected: list[task.Rejected] = []
    found = task.latest(on_reject=rejected.append)
    assert found is not None
    assert found.step == 1
    assert [r.step for r in rejected] == [2]
    assert reason in rejected[0].reason


def test_a_checkpoint_after_going_back_is_the_newest_and_is_kept() -> None:
    for step in (5, 6, 7):
        damaged = task.save(step, b"x", keep=3)
    assert damaged is not None
    damaged.path.unlink()
    task.save(6, b"again", keep=3)
    found = task.latest()
    assert found is not None
    assert (found.step, found.path.read_bytes()) == (6, b"again")


def test_a_block_that_raises_saves_nothing(as_task: Path) -> None:
    task.save(1, b"old")

    def fails_half_way(path: Path) -> None:
        path.write_bytes(b"new")
        raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        task.save(2, fails_half_way)
    assert steps() == [1]
    assert len(list((as_task / "ckpt").iterdir())) == 1


def test_a_block_that_writes_nothing_or_a_link_is_refused(as_task: Path) -> None:
    with pytest.raises(task.CheckpointError, match="nothing was written"), task.saving(1):
        pass
    with pytest.raises(task.CheckpointError, match="symbolic link"), task.saving(1) as path:
        path.symlink_to(as_task)
    with pytest.raises(ValueError, match="keep"):
        task.save(1, b"", keep=0)


SAVE_AND_HANG = """
import sys
from wattline import task
with task.saving(2) as path:
    path.write_bytes(b"x" * 100_000)
    print("writing", flush=True)
    sys.stdin.read()
"""


def test_a_kill_during_a_save_leaves_the_old_one_and_the_next_save_cleans_up(
    as_task: Path,
) -> None:
    task.save(1, b"old")
    process = subprocess.Popen(
        [sys.executable, "-c", SAVE_AND_HANG], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        task.save(3, b"meanwhile")  # must not take the other's half-made one for a leftover
        assert any(p.name.startswith(".saving") for p in (as_task / "ckpt").iterdir())
        process.send_signal(signal.SIGKILL)
    assert steps() == [3, 1]
    task.save(4, b"new")
    assert steps() == [4, 3, 1]
    assert all(not p.name.startswith(".") for p in (as_task / "ckpt").iterdir())


def test_a_later_attempt_cleans_up_after_an_earlier_one(
    as_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leftover = as_task / "ckpt" / f".saving-0-1-{os.getpid()}-abcd"
    leftover.mkdir(parents=True)
    other_task = as_task / "ckpt" / f".saving-5-1-{os.getpid()}-abcd"
    other_task.mkdir()
    monkeypatch.setenv("WATTLINE_ATTEMPT", "2")
    task.save(1, b"x")
    assert not leftover.exists()
    assert other_task.exists()


def test_two_processes_may_save_into_one_directory() -> None:
    code = "from wattline import task\nfor s in range(20): task.save(s, b'x', keep=100)"
    both = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait(30) for process in both] == [0, 0]
    assert sorted(steps()) == sorted([*range(20), *range(20)])


def test_each_index_of_an_array_has_its_own_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATTLINE_ARRAY_INDEX", "3")
    task.save(1, b"three")
    monkeypatch.setenv("WATTLINE_ARRAY_INDEX", "4")
    assert task.latest() is None
    assert task.identity().array_index == 4


def test_metrics_are_lines_of_json(as_task: Path) -> None:
    task.metric(loss=0.5, step=3)
    task.progress(1.7, loss=math.nan)
    first, second = (
        json.loads(line) for line in (as_task / "metrics.jsonl").read_text().splitlines()
    )
    assert first["metrics"] == {"loss": 0.5, "step": 3.0}
    assert second["metrics"] == {"progress": 1.0}
    assert second["not_finite"] == ["loss"]


def test_a_published_checkpoint_is_reported(as_task: Path) -> None:
    with task.saving(7) as path:
        path.mkdir()
        (path / "a").write_bytes(b"abc")
        (path / "b").write_bytes(b"de")
    (line,) = (as_task / "metrics.jsonl").read_text().splitlines()
    report = json.loads(line)
    assert (report["wattline"], report["step"], report["bytes"]) == ("checkpoint", 7, 5)
    assert report["copy_s"] <= report["save_s"]
    with pytest.raises(task.CheckpointError), task.saving(8):
        pass
    assert len((as_task / "metrics.jsonl").read_text().splitlines()) == 1


def test_metrics_have_limits(as_task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="1 to 64"):
        task.metric()
    with pytest.raises(ValueError, match="over 100 characters"):
        task.metric(**{"x" * 101: 1.0})
    monkeypatch.setattr(metrics, "MAX_METRICS_FILE_BYTES", 200)
    for _ in range(100):
        task.metric(loss=1.0)
    assert 0 < (as_task / "metrics.jsonl").stat().st_size < 200


def test_the_stop_file_is_a_stop_notice(as_task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_notice, "STOP_FILE_PERIOD_S", 0.0)
    assert not task.stop_requested()
    task.safe_point()
    (as_task / "stop").touch()
    assert task.should_checkpoint()
    with pytest.raises(task.StopRequested) as caught:
        task.safe_point()
    assert caught.value.code == 0


def test_sigterm_is_a_stop_notice_only_while_stoppable() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with task.stoppable():
        os.kill(os.getpid(), signal.SIGTERM)
        assert task.stop_requested()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_sigterm_that_comes_while_the_stop_file_is_looked_for_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def looks(path: Path) -> bool:
        signal.raise_signal(signal.SIGTERM)
        return False

    monkeypatch.setattr(Path, "exists", looks)
    with task.stoppable():
        is_asked = task.stop_requested()
    monkeypatch.undo()
    assert is_asked


def test_a_program_that_ignores_stop_requested_exceptions_still_ends_quietly() -> None:
    code = """
from wattline import task
with task.stoppable():
    print("up", flush=True)
    while True:
        try:
            task.safe_point()
        except Exception:
            pass
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"up\n"
            process.terminate()
            _, errors = process.communicate(timeout=10)
        finally:
            process.kill()
    assert (process.returncode, errors) == (0, b"")


def test_checkpoints_are_due_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not task.should_checkpoint()
    monkeypatch.setenv("WATTLINE_CHECKPOINT_EVERY_S", "900")
    assert not task.should_checkpoint()
    due.clock.saved_s = time.monotonic() - 901
    assert task.should_checkpoint()
    task.save(1, b"x")
    assert not task.should_checkpoint()


def test_outside_wattline_everything_stays_below_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WATTLINE_CHECKPOINT_DIR", "WATTLINE_METRICS", "WATTLINE_STOP_FILE"):
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    task.save(1, b"x")
    task.metric(loss=1.0)
    assert not task.stop_requested()
    assert [path.name for path in tmp_path.iterdir()] == [".wattline"]


def test_the_folder_works_alone_without_the_package_and_imports_no_third_party(
    tmp_path: Path,
) -> None:
    shutil.copytree(Path(task.__file__).parent, tmp_path / "task")
    code = "import task, sys; task.save(1, b'x'); print(task.latest().step)"
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}",
        ],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=tmp_path,
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_a_task_knows_its_part_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (task.gpu_share(), task.gpu_memory_limit_bytes()) == (1.0, None)
    monkeypatch.setenv("WATTLINE_GPU_SHARE", "0.25")
    monkeypatch.setenv("WATTLINE_GPU_MEMORY_BYTES", str(20 << 30))
    assert (task.gpu_share(), task.gpu_memory_limit_bytes()) == (0.25, 20 << 30)
    monkeypatch.setenv("WATTLINE_GPU_SHARE", "0")
    monkeypatch.setenv("WATTLINE_GPU_MEMORY_BYTES", "0")
    assert (task.gpu_share(), task.gpu_memory_limit_bytes()) == (0.0, None)
