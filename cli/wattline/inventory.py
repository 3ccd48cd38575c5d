"""Finds what an attempt runs with: its git working tree and the packages of its interpreter.

The keeper starts it beside a running attempt, as its account, in its environment and directory:
`inventory.py PID`, the attempt's first process. It prints compressed JSON (`Inventory` in
`wattline_protocol`): what was found, and a note on everything that was not.

Standard library only, one file. Nothing that it reads is trusted to be small or to end: each
program gets some seconds, each text some bytes.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

WITHIN_S = 30
"""Of the whole; then SIGALRM ends it."""
PROGRAM_WITHIN_S = 8.0
NICENESS = 19

MAX_PART_BYTES = 48 * 1024
MAX_DIFF_BYTES = 8 * 1024 * 1024
"""Of a diff whose digest is recorded."""
MAX_DIFF_CHARS = 256 * 1024
MAX_UNTRACKED = 100
MAX_UNTRACKED_BYTES = 1024 * 1024
MAX_LINE_CHARS = 200
MAX_PACKAGES = 5_000
MAX_PROCESSES = 64
MAX_METADATA_BYTES = 64 * 1024
READ_BYTES = 64 * 1024

CUT = (("code", "diff"), ("code", "untracked"), ("packages", "names"))

_PYTHON = re.compile(r"python(\d+(\.\d+)?)?t?$")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_ACCOUNT = re.compile(rb"^Uid:\s*\d+\s+(\d+)", re.MULTILINE)
"""The effective one."""
_USER_IN_URL = re.compile(r"://[^/@\s]*@")

GIT = (
    *("git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false"),
    *("-c", "core.pager=cat"),
)
GIT_REFUSALS = (
    ("not a git repository", "the directory is in no git repository"),
    ("dubious ownership", "git trusts the repository of another account only by safe.directory"),
    ("single revision", "the git repository has no commit"),
)
GIT_ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}
ASK_PYTHON = (
    "import sys; print(repr([sys.executable, '.'.join(map(str, sys.version_info[:3])), sys.path]))"
)
"""Imports nothing that is not built in: the first place of `sys.path` is the working directory, in
which other accounts may be able to write."""
NO_LITERAL = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)
"""What a text that is no Python literal raises."""


class NotFound(Exception):
    """There is nothing to record; the text says why."""


def main() -> int:
    """Print what is found, as far as it fits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    signal.alarm(WITHIN_S)
    os.nice(NICENESS)
    notes: list[str] = []
    packages = _or_note(lambda: packages_of(int(sys.argv[1])), "packages", notes)
    code = _or_note(code_here, "code", notes)
    found = {"code": code, "packages": packages, "notes": notes}
    os.write(1, packed(found))
    return 0


def _or_note(find: Callable[[], dict[str, Any]], what: str, notes: list[str]) -> Any:
    try:
        return find()
    except NotFound as error:
        notes.append(f"no {what}: {error}")
    except OSError as error:
        notes.append(f"no {what}: {error.strerror}")
    return None


def packed(found: dict[str, Any]) -> bytes:
    """Compressed JSON, with only the beginnings of lists and of the diff where it is too large.
    Digests are of the whole."""
    parts = [(found[of], key) for of, key in CUT if found[of]]
    while True:
        data = zlib.compress(json.dumps(found).encode())
        longest, key = max(parts, key=lambda part: len(part[0][part[1]]), default=(None, ""))
        if len(data) <= MAX_PART_BYTES or not longest or not longest[key]:
            return data
        longest[key] = longest[key][: len(longest[key]) // 2]


# --- Code ---------------------------------------------------------------------------------


def code_here() -> dict[str, Any]:
    """The git working tree of the current directory. Raises NotFound, OSError."""
    if shutil.which("git") is None:
        raise NotFound("git is not installed on this node, or not in PATH")
    commit = _git("rev-parse", "--verify", "HEAD").decode(errors="replace").strip()
    branch = _git("rev-parse", "--abbrev-ref", "HEAD").decode(errors="replace").strip()
    diff, is_whole = _start_of(
        [*GIT, "diff", "--no-ext-diff", "--no-textconv", "--no-color", "--submodule=short", "HEAD"],
        MAX_DIFF_BYTES,
    )
    others, _ = _start_of(
        [*GIT, "ls-files", "--others", "--exclude-standard", "-z"], MAX_UNTRACKED_BYTES
    )
    untracked = [_plain(name.decode(errors="replace")) for name in others.split(b"\0")[:-1]]
    return {
        "commit": _plain(commit),
        "branch": _plain(branch),
        "diff": diff.decode(errors="replace")[:MAX_DIFF_CHARS],
        "diff_bytes": len(diff),
        "diff_sha256": hashlib.sha256(diff).hexdigest() if is_whole else "",
        "untracked": untracked[:MAX_UNTRACKED],
        "untracked_count": len(untracked),
    }


def _git(*words: str) -> bytes:
    output, _ = _start_of([*GIT, *words], READ_BYTES)
    return output


def _start_of(command: list[str], most_bytes: int) -> tuple[bytes, bool]:
    """The first bytes that a program prints, and whether these are all. Raises NotFound."""
    output = bytearray()
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **GIT_ENVIRONMENT},
    ) as program:
        timer = _Timer(program)
        assert program.stdout is not None and program.stderr is not None  # noqa: S101, PT018
        while len(output) <= most_bytes and (piece := os.read(program.stdout.fileno(), READ_BYTES)):
            output += piece
        is_whole = len(output) <= most_bytes
        if not is_whole:
            program.kill()
        words = program.stderr.read(READ_BYTES).decode(errors="replace")
        timer.stop()
    if timer.is_over:
        raise NotFound(f"{Path(command[0]).name} did not end within {PROGRAM_WITHIN_S:g} s")
    if is_whole and program.returncode != 0:
        raise NotFound(_why(Path(command[0]).name, words, program.returncode))
    return bytes(output[:most_bytes]), is_whole


def _why(name: str, words: str, status: int) -> str:
    """Never in the program's own words, which may quote a variable: GIT_DIR, say."""
    known = (text for sign, text in GIT_REFUSALS if sign in words)
    return next(known, f"{name} ended with status {status}")


class _Timer:
    """Kills a program that takes too long."""

    def __init__(self, program: subprocess.Popen[bytes]) -> None:
        from threading import Timer

        self._program, self.is_over = program, False
        self._timer = Timer(PROGRAM_WITHIN_S, self._end)
        self._timer.daemon = True
        self._timer.start()

    def _end(self) -> None:
        self.is_over = True
        self._program.kill()

    def stop(self) -> None:
        self._timer.cancel()


# --- Packages -----------------------------------------------------------------------------


def packages_of(pid: int) -> dict[str, Any]:
    """Of the first Python interpreter among the process and its descendants. Raises NotFound."""
    interpreter = next(filter(None, map(_interpreter, _processes(pid))), "")
    if not interpreter:
        raise NotFound("no process of the attempt was a Python interpreter")
    answer, _ = _start_of([interpreter, "-c", ASK_PYTHON], READ_BYTES)
    try:
        executable, version, path = ast.literal_eval(answer.decode().splitlines()[-1])
        names = sorted({*_installed([str(entry) for entry in path])}, key=str.lower)
    except (*NO_LITERAL, IndexError) as error:
        raise NotFound("the interpreter did not print its path") from error
    return {
        "interpreter": _plain(str(executable or interpreter)),
        "version": _plain(str(version)),
        "sha256": hashlib.sha256("".join(f"{name}\n" for name in names).encode()).hexdigest(),
        "names": names[:MAX_PACKAGES],
        "count": len(names),
    }


def _processes(pid: int) -> Iterator[int]:
    """The process and its descendants, parents first."""
    waiting = [pid]
    for _ in range(MAX_PROCESSES):
        if not waiting:
            return
        pid = waiting.pop(0)
        yield pid
        for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
            with suppress(OSError):
                waiting += map(int, tasks.read_text().split())


def _interpreter(pid: int) -> str:
    """The program that a process was started as, if that is Python; else empty. Raises NotFound
    where it has other files than this process.

    That of another account is not for this one to run: a task of root may start programs with fewer
    rights, and those choose what they seem to be.
    """
    try:
        account = _ACCOUNT.search(Path(f"/proc/{pid}/status").read_bytes())
        first = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        folder = Path(f"/proc/{pid}/cwd").readlink()
        is_here = Path(f"/proc/{pid}/ns/mnt").readlink() == Path("/proc/self/ns/mnt").readlink()
    except (OSError, UnicodeDecodeError):  # it has ended
        return ""
    is_ours = account is not None and int(account[1]) == os.geteuid()
    if pid == os.getpid() or not is_ours or not _PYTHON.match(Path(first).name):
        return ""
    if not is_here:
        raise NotFound("the command runs in a container; its packages are those of its image")
    if "/" in first:
        return str(folder / first)
    path = next((v[5:].decode() for v in variables if v.startswith(b"PATH=")), os.defpath)
    return shutil.which(first, path=path) or ""


def _installed(folders: list[str]) -> Iterator[str]:
    """As `pip freeze --all` prints them; of a package in two folders the first one counts."""
    seen: set[str] = set()
    for folder in folders:
        try:
            entries = sorted(Path(folder).iterdir())
        except OSError:  # an archive, or not there
            continue
        for entry in entries:
            if entry.suffix in (".dist-info", ".egg-info"):
                name, version = _metadata(entry)
                key = re.sub(r"[-_.]+", "-", name).lower()
                if name and key not in seen:
                    seen.add(key)
                    yield _plain(f"{name}{_source(entry) or f'=={version}'}")


def _metadata(entry: Path) -> tuple[str, str]:
    """Name and version of a package; empty where they are not readable."""
    for file in (entry / "METADATA", entry / "PKG-INFO", entry):
        try:
            text = _head(file).decode(errors="replace")
        except OSError:
            continue
        lines = itertools.takewhile(str.strip, text.splitlines())
        fields = (line.partition(":") for line in lines)
        values = {key.lower(): value.strip() for key, _, value in fields}
        return values.get("name", ""), values.get("version", "")
    return "", ""


def _source(entry: Path) -> str:
    """Where a package was installed from other than an index; a password in it is left out."""
    try:
        found = json.loads(_head(entry / "direct_url.json"))
        url = _USER_IN_URL.sub("://", str(found["url"]))
        commit = found.get("vcs_info", {}).get("commit_id", "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    return f" @ {url}@{commit}" if commit else f" @ {url}"


def _head(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(MAX_METADATA_BYTES)


def _plain(text: str) -> str:
    """One line without control characters and halves of surrogate pairs."""
    whole = text.encode(errors="replace").decode()
    return _CONTROL.sub("?", whole)[:MAX_LINE_CHARS]


if __name__ == "__main__":
    sys.exit(main())
