"""The folders of batches: locks, records, and what is deleted when."""

import os
import time
from errno import EIO, ENOSPC
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from wattline_runtime.gateway.batches import folder as f
from wattline_runtime.gateway.batches.directory import ABANDONED_S, BatchDirectory, use_of
from wattline_runtime.gateway.batches.records import Batch, Progress, shown

ROWS = b'{"input":1}\n{"input":2}\n'


def batch(number: str, key: str = "") -> Batch:
    return Batch(
        id=number,
        service="svc",
        key=key,
        key_name="",
        created_unix_s=time.time(),
        deadline_unix_s=time.time() + 60,
        timeout_ms=1000,
        total=2,
        input_bytes=len(ROWS),
    )


def accepted(directory: BatchDirectory, digit: str) -> Batch:
    upload = f.Upload(directory.root, f"batch_{digit * 32}")
    upload.write(ROWS)
    made = batch(upload.id)
    upload.accept(made)
    return made


@pytest.fixture
def directory(tmp_path: Path) -> BatchDirectory:
    return BatchDirectory(tmp_path / "batches", 0)


def test_only_one_runs_a_batch_and_a_crash_leaves_it_to_the_next(directory: BatchDirectory) -> None:
    made = accepted(directory, "a")
    path = directory.path(made.id)
    first = f.Opened(path, made.total)
    with pytest.raises(BlockingIOError):
        f.Opened(path, made.total)
    first.output.append([b'{"line":1,"output":1}'], 0)
    first.close()  # before it could publish
    (path / "state.json").write_bytes(b"")  # as after a power cut
    second = f.Opened(path, made.total)
    assert (second.progress.rows, second.input.read(9, 99)) == (1, [b'{"input":2}'])
    second.output.append([b'{"line":2,"error":{"reason":"x","message":""}}'], 1)
    second.output.publish(Progress(rows=2, failed=1, status="completed", ended_unix_s=1.0))
    second.close()
    found = directory.find(made.id)
    assert found is not None
    counts = shown(found.batch, found.progress, is_cancelled=True)["request_counts"]
    assert counts == {"total": 2, "completed": 1, "failed": 1}
    third = f.Opened(path, made.total)
    assert third.is_over
    third.close()


def test_a_directory_that_a_full_disk_did_not_take_is_made_later_but_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, capture_logs() as warned:
        patch.setattr(Path, "mkdir", full)
        directory = BatchDirectory(tmp_path / "new" / "batches", 0)
        with pytest.raises(OSError, match="No space left"):
            directory.make()
    assert [one["event"] for one in warned] == ["batches_stopped"]
    assert (directory.all(), directory.find(f"batch_{'a' * 32}")) == ([], None)
    directory.make()
    assert len([accepted(directory, "a"), *directory.all()]) == 2
    directory.root.rename(tmp_path / "unmounted")
    directory.make()
    with pytest.raises(FileNotFoundError):
        directory.all()
    assert not directory.root.exists()


def test_a_failed_append_leaves_the_position_where_it_was(
    directory: BatchDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = accepted(directory, "a")
    opened = f.Opened(directory.path(made.id), made.total)
    whole_write = os.write

    def write_half(descriptor: int, data: memoryview) -> int:
        if len(data) < 10:
            raise OSError(28, "No space left on device")
        return whole_write(descriptor, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", write_half)
    with pytest.raises(OSError, match="No space"):
        opened.output.append([b'{"line":1,"output":1}'], 0)
    monkeypatch.undo()
    opened.output.append([b'{"line":1,"output":7}'], 0)
    assert (directory.path(made.id) / "output.jsonl").read_bytes() == b'{"line":1,"output":7}\n'
    opened.close()


def test_an_upload_is_no_batch_before_it_is_accepted(directory: BatchDirectory) -> None:
    upload = f.Upload(directory.root, "batch_" + "b" * 32)
    upload.write(ROWS)
    assert directory.all() == []
    old = time.time() - 2 * ABANDONED_S
    os.utime(directory.root / f".new-{upload.id}", (old, old))
    directory.sweep(1.0)  # its process is alive
    upload.accept(batch(upload.id))
    assert [one.batch.id for one in directory.all()] == [upload.id]
    (directory.root / ".new-left").mkdir()
    directory.sweep(1.0)  # it may be younger than its lock
    assert (directory.root / ".new-left").exists()
    os.utime(directory.root / ".new-left", (old, old))
    (directory.root / ".old-left").mkdir()
    directory.sweep(1.0)
    assert {one.name for one in directory.root.iterdir()} == {upload.id}
    directory_mode = directory.path(upload.id).stat().st_mode & 0o777
    assert directory_mode == 0o700


def test_ended_batches_are_deleted_after_their_retention(directory: BatchDirectory) -> None:
    kept, ended = accepted(directory, "c"), accepted(directory, "d")
    opened = f.Opened(directory.path(ended.id), ended.total)
    opened.output.publish(Progress(status="cancelled", ended_unix_s=time.time() - 10))
    opened.close()
    use = use_of("", directory.all())
    assert (use.is_open, use.kept) == (1, 2)
    directory.sweep(20.0)
    assert directory.find(ended.id) is not None
    directory.sweep(5.0)
    assert directory.find(ended.id) is None
    assert [one.batch.id for one in directory.all()] == [kept.id]
    for name in ("..", "batch_../x", "", "lock"):
        assert directory.find(name) is None


def test_a_damaged_batch_harms_no_other(directory: BatchDirectory) -> None:
    made = accepted(directory, "e")
    broken = accepted(directory, "f")
    (directory.path(broken.id) / "batch.json").write_bytes(b"{")
    again = BatchDirectory(directory.root, 0)
    assert [one.batch.id for one in again.all()] == [made.id]


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="batch directory"):
        BatchDirectory(tmp_path / "file", 0)


@pytest.mark.parametrize("broken", ["input.jsonl", "state.json", "output.jsonl"])
def test_a_batch_that_cannot_be_opened_leaves_no_file_open(
    directory: BatchDirectory, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """It is tried again each second: the gateway had no file descriptor left after some hours."""
    path = directory.path(accepted(directory, "a").id)
    if broken == "input.jsonl":
        (path / broken).unlink()
    elif broken == "state.json":
        (path / broken).mkdir()
    else:
        monkeypatch.setattr(os, "ftruncate", damaged_disk)
    before = open_files()
    with pytest.raises(OSError, match=r"No such file|Is a directory|Input/output error"):
        f.Opened(path, 2)
    assert open_files() == before


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def damaged_disk(*_: object) -> None:
    raise OSError(EIO, os.strerror(EIO))
