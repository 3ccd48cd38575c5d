"""Supervisor of one rank: runs its program, keeps a copy of its output, records how it failed.

torchrun starts it in place of the program: `rank.py LIMIT_BYTES PROGRAM…`. The program's stdout and
stderr are passed on unchanged and copied to `.wattline-rank-N.log` in WATTLINE_TASK_DIR; the first
rank there that fails by itself leaves `.wattline-first-failure`. It ends as its program ended.

Standard library only, one file, Python 3.9 or later: it runs in the environment of the program.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

HEADER_DIGITS = 20
HEADER_BYTES = HEADER_DIGITS + 1
"""Each file of a copy begins with the offset of its first byte, and a line feed."""
MIN_LIMIT_BYTES = 64 * 1024
READ_BYTES = 64 * 1024
TAIL_BYTES = 16 * 1024
"""Of the output, in which the last traceback is found."""
MAX_ERROR_CHARS = 1000
MAX_ERROR_FILE_BYTES = 1024 * 1024
FAILURE_FILE = ".wattline-first-failure"

_FRAME = re.compile(r'  File "([^"]+)", line (\d+), in (.+)')
_TRACEBACK = "Traceback (most recent call last):"


def log_name(local_rank: int) -> str:
    """File name of the newer part of a rank's output; the older part has `.1` appended."""
    return f".wattline-rank-{local_rank}.log"


class RankLog:
    """A bounded copy of a rank's output: two files, of which the older is replaced."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self._path, self._half = path, max(limit_bytes, MIN_LIMIT_BYTES) // 2
        self._written = 0
        self._file, self._size = -1, 0
        with contextlib.suppress(OSError):  # without a copy the rank runs all the same
            self._file = self._opened(path)

    def _opened(self, path: Path) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        file = os.open(path, flags, 0o600)
        os.write(file, b"%0*d\n" % (HEADER_DIGITS, self._written))
        return file

    def write(self, data: bytes) -> None:
        """Append; what a full disk does not take is missing in the copy."""
        if self._file < 0:
            return
        with contextlib.suppress(OSError):
            while data:
                if self._size >= self._half:
                    self._rotate()
                count = os.write(self._file, data[: self._half - self._size])
                self._size += count
                self._written += count
                data = data[count:]

    def _rotate(self) -> None:
        following = self._path.with_name(f"{self._path.name}.next")
        with contextlib.suppress(FileNotFoundError):
            following.unlink()
        file = self._opened(following)
        self._path.rename(self._path.with_name(f"{self._path.name}.1"))
        following.rename(self._path)
        os.close(self._file)
        self._file, self._size = file, 0


def pieces(data: bytes) -> list[bytes]:
    """Cut into writes that a pipe does not interleave with others, at ends of lines if possible."""
    found = []
    while data:
        part = data[: select.PIPE_BUF]
        end = part.rfind(b"\n") + 1 or len(part)
        found.append(data[:end])
        data = data[end:]
    return found


def error_of(text: str) -> str:
    """Message and place of the last Python traceback in a program's output; empty = none."""
    _, found, rest = text.rpartition(_TRACEBACK)
    if not found:
        return ""
    place, message = "", ""
    for line in rest.splitlines()[1:]:
        if frame := _FRAME.match(line):
            place = f" ({frame[1]}:{frame[2]} in {frame[3]})"
        elif line.strip() and not line.startswith(" "):
            message = line.strip()
            break
    return f"{message[:MAX_ERROR_CHARS]}{place[:MAX_ERROR_CHARS]}" if message else ""


def error_in_file(path: Path) -> str:
    """The same from the file that `torch.distributed.elastic` records an exception in."""
    try:
        with path.open("rb") as file:
            data = json.loads(file.read(MAX_ERROR_FILE_BYTES))
        message = data["message"]
        if isinstance(message, str):
            return message.partition("\n")[0]
        return error_of(message["extraInfo"]["py_callstack"]) or str(message["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def describe(status: int) -> str:
    """How a program ended: its exit status, or the signal."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"killed by signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"killed by signal {-status}"


def record_failure(folder: Path, rank: int, error: str, unix_s: float) -> None:
    """Leave the record, unless another rank of this task has failed before."""
    draft = folder / f"{FAILURE_FILE}.{rank}"
    with contextlib.suppress(OSError):  # the exit status reports the failure as well
        draft.write_text(json.dumps({"rank": rank, "unix_s": unix_s, "error": error}))
        try:
            os.link(draft, folder / FAILURE_FILE)
        finally:
            draft.unlink()


class _Wakeup:
    """Signals of this process: the end of the program, and requests to stop."""

    def __init__(self) -> None:
        self.is_stopped = False
        self.reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        """torchrun and the agent signal the whole process group: the program has its own."""
        self.is_stopped = True


def _pump(
    process: subprocess.Popen[bytes], source: int, wakeup: int, take: Callable[[bytes], None]
) -> None:
    """Pass on what the program writes until it has ended and the pipe is empty."""
    os.set_blocking(source, False)
    while True:
        has_ended = process.poll() is not None
        if not has_ended:
            ready, _, _ = select.select([source, wakeup], [], [])
            if wakeup in ready:
                os.read(wakeup, READ_BYTES)
        try:
            data = os.read(source, READ_BYTES)
        except BlockingIOError:
            if has_ended:
                return
            continue
        if not data:
            return
        take(data)


def main(limit_bytes: int, program: list[str]) -> int:
    """Run the program as torchrun would. Returns its status: negative = the signal."""
    folder = Path(os.environ["WATTLINE_TASK_DIR"])
    log = RankLog(folder / log_name(int(os.environ["LOCAL_RANK"])), limit_bytes)
    tail = bytearray()

    def take(data: bytes) -> None:
        log.write(data)
        tail.extend(data)
        del tail[:-TAIL_BYTES]
        for piece in pieces(data):
            while piece:
                piece = piece[os.write(1, piece) :]

    wakeup = _Wakeup()
    source, sink = os.pipe()
    process = subprocess.Popen([sys.executable, "-u", *program], stdout=sink, stderr=sink)
    os.close(sink)
    _pump(process, source, wakeup.reader, take)
    status = process.wait()
    if status and not wakeup.is_stopped:
        recorded = error_in_file(Path(os.environ.get("TORCHELASTIC_ERROR_FILE", "")))
        error = recorded or error_of(tail.decode(errors="replace")) or describe(status)
        record_failure(folder, int(os.environ["RANK"]), error, time.time())
    return status


def _end_as(status: int) -> None:
    """End this process as the program ended."""
    if status < 0:
        with contextlib.suppress(OSError, ValueError):  # SIGKILL has no handler
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    _end_as(main(int(sys.argv[1]), sys.argv[2:]))
