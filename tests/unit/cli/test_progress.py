"""How far `wattline data add` is: on a terminal, and nowhere else."""

import io
import sys
from pathlib import Path

import pytest

from wattline.data.progress import steps
from wattline_runtime.data.add import NewVersion
from wattline_runtime.data.stores.local import LocalStore


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    root = tmp_path / "set"
    root.mkdir()
    for number in range(3):
        (root / f"{number}.bin").write_bytes(bytes(2**20))
    (root / "other.bin").write_bytes(b"x" * 2**20)
    return root


def add(folder: Path) -> None:
    with steps() as line:
        line.begin("hashing")
        with NewVersion(folder, line.passed) as version:
            line.begin("storing", version.tree.size)
            version.put(LocalStore(str(folder.with_name("store"))), line.passed)


def test_a_terminal_shows_files_bytes_and_the_time_left(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    add(folder)
    add(folder)  # all objects are there: they count as well
    last = shown.getvalue()
    assert last.count("4 files, 4 MiB") >= 1
    assert "storing" in last
    assert "0:00:00" in last


def test_a_pipe_gets_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    add(folder)
    assert capfd.readouterr() == ("", "")
