"""The helper that finds code and packages: what it prints is small, plain and without passwords."""

import json
import random
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from wattline import inventory
from wattline_protocol.wire.task_reports.run_records import MAX_PART_BYTES, inventory_in


@pytest.fixture
def interpreter() -> Iterator[int]:
    """The process ID of one that runs its program: right after its start, `/proc` shows no command
    of it yet."""
    command = [sys.executable, "-I", "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as own:
        assert own.stdout is not None
        assert own.stdout.readline() == b"\n"
        yield own.pid
        own.communicate(b"\n")


def package(folder: Path, name: str, text: str, url: object = None) -> None:
    place = folder / f"{name}.dist-info"
    place.mkdir()
    (place / "METADATA").write_text(text)
    if url is not None:
        (place / "direct_url.json").write_text(json.dumps(url))


def test_packages_are_listed_as_pip_freeze_does_without_passwords(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
    package(first, "torch-2.6", "Name: torch\nVersion: 2.6\n\nName: body\n")
    secret = {"url": "https://ada:hunter2@example.org/x.git", "vcs_info": {"commit_id": "c0ffee"}}
    package(first, "mine-1", "Version: 1\nName: mine\n", secret)
    package(second, "Torch-2.5", "Name: Torch\nVersion: 2.5\n")
    package(second, "odd-1", "Name: o\x1b[2Jdd\nVersion: 1\n", {"url": 3})
    package(second, "empty-1", "")
    (second / "old.egg-info").write_text("Name: old\nVersion: 0.1\n")
    found = list(inventory._installed([str(first), str(tmp_path / "none"), str(second)]))
    mine = "mine @ https://example.org/x.git@c0ffee"
    assert found == [mine, "torch==2.6", "o?[2Jdd @ 3", "old==0.1"]


def test_what_is_printed_fits_a_message_and_is_within_bounds() -> None:
    dice = random.Random(1)
    text = "".join(chr(dice.randrange(0x4E00, 0x9FA5)) for _ in range(inventory.MAX_DIFF_CHARS))
    code = {"commit": "c", "diff": text, "untracked": [text[:200]] * 100, "untracked_count": 100}
    names = [text[at : at + 200] for at in range(0, 200_000, 200)]
    packages = {"interpreter": "/p", "version": "3", "sha256": "s", "names": names, "count": 1_000}
    found = {"code": code, "packages": packages, "notes": []}
    part = inventory.packed(found)
    assert len(part) <= MAX_PART_BYTES == inventory.MAX_PART_BYTES
    read = inventory_in(part)
    assert read.code is not None
    assert read.packages is not None
    assert text.startswith(read.code.diff)
    assert (read.code.untracked_count, read.packages.count) == (100, 1_000)


@pytest.mark.parametrize(
    ("path", "notes"),
    [
        ("/nowhere", ["no code: git is not installed on this node, or not in PATH"]),
        (None, ["no code: the directory is in no git repository"]),
    ],
)
def test_what_is_missing_is_noted(
    path: str | None,
    notes: list[str],
    interpreter: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    if path is not None:
        monkeypatch.setenv("PATH", path)
    program = [sys.executable, "-I", "-B", inventory.__file__, str(interpreter)]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, check=True)
    found = json.loads(zlib.decompress(done.stdout))
    assert (found["code"], found["notes"]) == (None, notes)
    assert re.fullmatch(r"3\.\d+\.\d+", found["packages"]["version"])


def test_nothing_of_other_accounts_is_run(
    interpreter: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "ast", "os", "re"):  # a directory that others may write to
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    assert inventory.packages_of(interpreter)["version"].startswith("3.")
    assert not (tmp_path / "ran").exists()
    monkeypatch.setattr("os.geteuid", lambda: 1)  # a task of root that starts one with fewer rights
    with pytest.raises(inventory.NotFound, match="no process of the attempt"):
        inventory.packages_of(interpreter)
