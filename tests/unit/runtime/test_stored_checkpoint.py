"""The stored checkpoint and those of the directory: which one `latest` returns."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support.task_home import as_first_attempt
from wattline import task
from wattline.task.stored import VARIABLE

Save = Callable[[int, int, bytes], None]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    as_first_attempt(tmp_path, monkeypatch)
    return tmp_path / "ckpt"


@pytest.fixture
def save(monkeypatch: pytest.MonkeyPatch) -> Save:
    def save_by(attempt: int, step: int, data: bytes) -> None:
        monkeypatch.setenv("WATTLINE_ATTEMPT", str(attempt))
        task.save(step, data)

    return save_by


def store(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The newest one becomes the stored one, and leaves the directory."""
    newest = max(home.iterdir())
    stored = home.with_name("a-manifest")
    shutil.rmtree(stored, ignore_errors=True)
    newest.rename(stored)
    monkeypatch.setenv(VARIABLE, str(stored))
    return stored


def newest() -> bytes:
    found = task.latest()
    assert found is not None
    return found.path.read_bytes()


def test_a_node_that_has_none_resumes_from_the_stored_one(
    home: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(1, 40, b"of n1")
    stored = store(home, monkeypatch)
    assert newest() == b"of n1"
    assert task.latest(home) is None, "a directory that is named is all that counts"
    save(2, 50, b"of n2")
    assert newest() == b"of n2"
    shutil.rmtree(stored)
    assert newest() == b"of n2"


def test_the_attempt_decides_and_no_clock(
    home: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(2, 90, b"stored by attempt 2")
    store(home, monkeypatch)
    save(1, 99, b"left by attempt 1")
    assert newest() == b"stored by attempt 2"
    save(2, 91, b"saved after that")
    assert newest() == b"saved after that"


def test_the_stored_one_stands_in_for_damaged_ones_and_is_checked_itself(
    home: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(1, 10, b"stored")
    stored = store(home, monkeypatch)
    save(1, 11, b"damaged")
    (max(home.iterdir()) / "data").write_bytes(b"DAMAGED")
    assert newest() == b"stored"
    (stored / "data").write_bytes(b"STORED")
    with pytest.raises(task.CheckpointError, match=r"step 11: .*; step 10: "):
        task.latest()
    monkeypatch.setenv(VARIABLE, str(stored.with_name("gone")))
    with pytest.raises(task.CheckpointError, match="No such file"):
        task.latest()
