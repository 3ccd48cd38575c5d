"""Directories of ended attempts, for reuse."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wattline_agent.executor.dir_pool import PRIVATE, DirPool


def made(path: Path) -> Path:
    path.mkdir(PRIVATE)
    return path


def test_an_empty_directory_is_used_again_and_another_one_is_not(tmp_path: Path) -> None:
    pool, empty, full = DirPool(), made(tmp_path / "empty"), made(tmp_path / "full")
    (full / "file").touch()
    pool.offer(str(empty))
    pool.offer(str(full))
    for name in ("first", "second"):
        pool.make(str(tmp_path / name))
    assert not empty.exists()
    assert {one.name for one in tmp_path.iterdir()} == {"full", "first", "second"}


def test_of_a_directory_with_very_many_files_one_entry_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def names(path: str) -> Iterator[str]:
        for one in Path(path).iterdir():
            read.append(one.name)
            yield one.name

    @contextmanager
    def scandir(path: str) -> Iterator[Iterator[str]]:
        yield names(path)

    folder = made(tmp_path / "full")
    for number in range(100):
        (folder / str(number)).touch()
    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", scandir)
        DirPool().offer(str(folder))
    assert len(read) == 1
