"""What the kernel opens beside a file that it executes: known before it does."""

import os
import struct
import sys
from pathlib import Path

import pytest

from wattline_agent.keeper.mounts import NotLocal
from wattline_agent.keeper.processes.interpreters import ELF_64, INTERPRETER, touch_interpreters


def touched(file: Path | str, cwd: str = "/") -> list[str]:
    found: list[str] = []
    touch_interpreters(str(file), cwd, found.append)
    return found


def script(path: Path, first: bytes) -> Path:
    path.write_bytes(first + b"\nexit 0\n")
    return path


@pytest.fixture
def loader() -> str:
    """Of this host's programs, as the kernel finds it."""
    (found,) = touched(os.path.realpath("/bin/sh"))
    return found


def test_a_program_names_its_loader_and_that_names_none(loader: str) -> None:
    assert Path(loader).name.startswith("ld-")
    assert touched(loader) == []
    assert touched(os.path.realpath(sys.executable)) in ([loader], [])


@pytest.mark.parametrize("first", [b"#!/bin/sh", b"#! /bin/sh -e", b"#!\t/bin/sh\t", b"#!/bin/sh "])
def test_a_script_names_its_interpreter_and_what_that_names(
    tmp_path: Path, loader: str, first: bytes
) -> None:
    inner = script(tmp_path / "inner", first)
    assert touched(inner) == ["/bin/sh", loader]
    outer = script(tmp_path / "outer", b"#!" + bytes(inner))
    assert touched(outer) == [str(inner), "/bin/sh", loader]


def test_a_name_that_begins_in_its_directory_is_looked_up_there(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    script(tmp_path / "bin" / "own", b"no first line")
    assert touched(script(tmp_path / "run", b"#!bin/own"), str(tmp_path)) == [
        str(tmp_path / "bin" / "own")
    ]


@pytest.mark.parametrize("content", [b"", b"echo no first line", b"#!", b"#!\n/bin/sh"])
def test_what_names_none_is_left_to_the_kernel(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    assert touched(file) == []


def test_what_cannot_be_told_could_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("none", "fifo"):
        with pytest.raises(NotLocal):
            touched(script(tmp_path / "script", b"#!" + bytes(tmp_path / name)))


@pytest.mark.parametrize("length", [4, 5, 20, 100])
def test_a_program_that_is_cut_off_could_hang(tmp_path: Path, length: int) -> None:
    """As one of another machine, of which nothing is known here."""
    file = tmp_path / "file"
    file.write_bytes(Path(os.path.realpath("/bin/sh")).read_bytes()[:length])
    with pytest.raises(NotLocal):
        touched(file)


def test_scripts_that_name_each_other_end(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    script(one, b"#!" + bytes(two))
    script(two, b"#!" + bytes(one))
    assert len(touched(one)) < 10


def test_nothing_is_read_that_must_not_be_touched(tmp_path: Path) -> None:
    inner = script(tmp_path / "inner", b"#!/bin/sh")
    outer = script(tmp_path / "outer", b"#!" + bytes(inner))

    def touch(path: str) -> None:
        if path == "/bin/sh":
            raise NotLocal(path)

    with pytest.raises(NotLocal, match="/bin/sh"):
        touch_interpreters(str(outer), "/", touch)


def test_a_name_ends_at_a_zero(tmp_path: Path, loader: str) -> None:
    assert touched(script(tmp_path / "script", b"#!/bin/sh\0x -e")) == ["/bin/sh", loader]


HUGE = 2**64 - 1


@pytest.mark.parametrize(
    "header",
    [
        {"at": HUGE},
        {"size": 0},
        {"size": 65_535, "count": 65_535},
        {"count": 65_535},
        {"where": HUGE},
        {"where": 2**63},
    ],
    ids=str,
)
def test_a_program_whose_header_says_what_is_in_no_file_could_hang(
    tmp_path: Path, header: dict[str, int]
) -> None:
    """It is executed by a child, which says what the kernel says of it."""
    with pytest.raises(NotLocal):
        touched(program(tmp_path / "program", **header))


def test_the_name_of_a_loader_is_as_long_as_a_path_at_most(tmp_path: Path) -> None:
    """A length of 2^64 - 1 would be read at once."""
    assert touched(program(tmp_path / "program", length=HUGE))[0].endswith("/ld-x.so")


def program(
    path: Path,
    at: int = 64,
    size: int = 56,
    count: int = 1,
    where: int = 120,
    length: int = 9,
) -> Path:
    """Headers of a program (elf(5)) with one segment, the name of its loader."""
    head = ELF_64 + bytes(27) + struct.pack("<Q14xHH", at, size, count) + bytes(6)
    segment = struct.pack("<I4xQ16xQ16x", INTERPRETER, where, length)
    path.write_bytes(head + segment + bytes(path.parent / "ld-x.so") + b"\0more")
    (path.parent / "ld-x.so").write_bytes(b"")
    return path
