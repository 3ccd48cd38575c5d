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
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

HEADER_DIGITS = 20
HEADER_BYTES = HEADER_DIGITS + 1
"""Each file of a copy begins with the offset of its first byte, and a line feed."""
MIN_LIMIT_BYTES = 64 * 1024
READ_BYTES = 64 * 1024
TAIL_BYTES = 16 * 1024
"""Of the output, in which the agent finds the last traceback."""
MAX_ERROR_CHARS = 1000
MAX_ERROR_FILE_BYTES = 1024 * 1024
FAILURE_FILE = ".wattline-first-failure"
STACKS_SIGNAL = signal.SIGUSR2
"""Sent to this process: stacks of the program. `wattline.task` has the program write its own."""
PLACE_AFTER_S, PLACE_WITHIN_S = 1.0, 10.0
"""Time for the program to write its stacks: usually, and on a busy host."""
PY_SPY_WITHIN_S = 10.0
PEER_GRACE_S = 10.0
"""From the stop to the kill once another rank of the task has failed: a save may end, but a program
that waits for that rank cannot stop by itself. torchrun would wait 30 s."""

_STACK_FRAME = re.compile(r'  File "([^"]+)", line (\d+),? in (.+)|    (\S+) \((\S+):(\d+)\)')
_MAIN_THREAD = re.compile(r"Current thread 0x|Thread .*MainThread")


def log_name(local_rank: int) -> str:
    """File name of the newer part of a rank's output; the older part has `.1` appended."""
    return f".wattline-rank-{local_rank}.log"


class RankLog:
    """A bounded copy of a rank's output: two files, of which the older is removed before the newer
    takes its name: ext4 would write it to disk at once, and others that sync would wait for it."""

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
        older = self._path.with_name(f"{self._path.name}.1")
        with contextlib.suppress(FileNotFoundError):
            older.unlink()
        self._path.rename(older)
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


def error_in_file(path: Path) -> tuple[str, str]:
    """What `torch.distributed.elastic` recorded of an exception: its message in one line, and its
    traceback, if any; empty = no record."""
    try:
        with path.open("rb") as file:
            data = json.loads(file.read(MAX_ERROR_FILE_BYTES))
        message = data["message"]
        if isinstance(message, str):
            return message.partition("\n")[0][:MAX_ERROR_CHARS], ""
        text = str(message["extraInfo"]["py_callstack"])
        return str(message["message"])[:MAX_ERROR_CHARS], text[-TAIL_BYTES:]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "", ""


def place_name(local_rank: int) -> str:
    """File name of where the rank was when its stacks were written."""
    return f".wattline-place-{local_rank}"


def place_of(text: str) -> str:
    """Innermost frame of the main thread in the last stacks of a program's output, as faulthandler
    or py-spy write them; empty = none."""
    lines = text.splitlines()
    starts = [at for at, line in enumerate(lines) if _MAIN_THREAD.match(line)]
    frames = lines[starts[-1] + 1 :] if starts else []
    frame = _STACK_FRAME.match(frames[0]) if frames else None
    if frame is None:
        return ""
    path, line, function = frame.group(1, 2, 3) if frame[1] else frame.group(5, 6, 4)
    return f"{path}:{line} in {function}"[:MAX_ERROR_CHARS]


def stacks_of(pid: int) -> bytes:
    """Stacks of a program by py-spy, else by its own handler, whose output follows by itself."""
    if py_spy := shutil.which("py-spy"):
        command = [py_spy, "dump", "--pid", str(pid)]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(
                command, capture_output=True, timeout=PY_SPY_WITHIN_S, check=False
            )
            if done.returncode == 0:
                return done.stdout
    if catches(pid, STACKS_SIGNAL):
        os.kill(pid, STACKS_SIGNAL)
        return b""
    return b"[wattline: no stacks: install py-spy, or import wattline.task in the program]\n"


def catches(pid: int, number: int) -> bool:
    """Whether the process has a handler for the signal: without one it would end."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()  # its name may be cut within a character
    except OSError:
        return False
    found = re.search(rb"^SigCgt:\s*([0-9a-f]+)", status, re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> (number - 1) & 1)


def describe(status: int) -> str:
    """How a program ended: its exit status, or the signal."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"killed by signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"killed by signal {-status}"


def record_failure(folder: Path, rank: int, error: str, text: str, unix_s: float) -> None:
    """Leave the record, unless another rank of this task has failed before. `error` counts if
    `text`, which the agent reads, has no traceback."""
    draft = folder / f"{FAILURE_FILE}.{rank}"
    record = {"rank": rank, "unix_s": unix_s, "error": error, "text": text}
    with contextlib.suppress(OSError):  # the exit status reports the failure as well
        draft.write_text(json.dumps(record))
        try:
            os.link(draft, folder / FAILURE_FILE)
        finally:
            draft.unlink()


class _Wakeup:
    """Signals of this process: the end of the program, and requests to stop."""

    def __init__(self) -> None:
        self.is_stopped = self.wants_stacks = False
        self.reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.program: int | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGUSR1, self._pass_stop_on)
        signal.signal(STACKS_SIGNAL, self._ask_for_stacks)

    def _ask_for_stacks(self, _number: int, _frame: FrameType | None) -> None:
        self.wants_stacks = True

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        """torchrun and the agent signal the whole process group: the program has its own."""
        self.is_stopped = True

    def _pass_stop_on(self, number: int, _frame: FrameType | None) -> None:
        """The keeper requests a stop of the topmost processes that handle the signal: of this one,
        and of neither torchrun above nor workers of the program below."""
        self.is_stopped = True
        if self.program is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.program, number if catches(self.program, number) else signal.SIGTERM)


class _Rank:
    """One running program: passes its output on, and writes its stacks on request."""

    def __init__(self, folder: Path, limit_bytes: int, program: list[str]) -> None:
        self._folder, self._local_rank = folder, int(os.environ["LOCAL_RANK"])
        self._log = RankLog(folder / log_name(self._local_rank), limit_bytes)
        self._tail = bytearray()
        self._place_at_s: float | None = None
        self._place_until_s = 0.0
        self._kill_at_s: float | None = None
        self.signals = _Wakeup()
        self._source, sink = os.pipe()
        os.set_blocking(self._source, False)
        self._process = subprocess.Popen([sys.executable, "-u", *program], stdout=sink, stderr=sink)
        self.signals.program = self._process.pid
        if self.signals.is_stopped:  # before there was a program to signal
            self._process.terminate()
        os.close(sink)

    @property
    def tail(self) -> str:
        """The end of the output."""
        return self._tail.decode(errors="replace")

    def run(self) -> int:
        """Until the program has ended and its pipe is empty. Its status: negative = the signal."""
        while True:
            has_ended = self._process.poll() is not None
            if not has_ended:
                self._wait()
            try:
                data = os.read(self._source, READ_BYTES)
            except BlockingIOError:
                if has_ended:
                    break
                continue
            if not data:
                break
            self._take(data)
        return self._process.wait()

    def _wait(self) -> None:
        """Until there is output or a signal; also writes stacks, and then the place."""
        due = [at_s for at_s in (self._place_at_s, self._kill_at_s) if at_s is not None]
        left_s = max(0.0, min(due) - time.monotonic()) if due else None
        ready, _, _ = select.select([self._source, self.signals.reader], [], [], left_s)
        if self.signals.reader in ready:
            os.read(self.signals.reader, READ_BYTES)
            self._note_stop()
        if self._kill_at_s is not None and time.monotonic() >= self._kill_at_s:
            self._process.kill()
            self._kill_at_s = None
        if self.signals.wants_stacks:
            self.signals.wants_stacks = False
            self._take(stacks_of(self._process.pid))
            self._place_at_s = time.monotonic() + PLACE_AFTER_S
            self._place_until_s = time.monotonic() + PLACE_WITHIN_S
        elif self._place_at_s is not None and time.monotonic() >= self._place_at_s:
            place = place_of(self.tail)
            is_final = bool(place) or time.monotonic() >= self._place_until_s
            self._place_at_s = None if is_final else time.monotonic() + PLACE_AFTER_S
            if is_final:
                self._write_place(place)

    def _note_stop(self) -> None:
        """torchrun stops this rank because another one has failed."""
        has_failed = self.signals.is_stopped and (self._folder / FAILURE_FILE).exists()
        if has_failed and self._kill_at_s is None:
            self._kill_at_s = time.monotonic() + PEER_GRACE_S

    def _write_place(self, found: str) -> None:
        place = {"rank": int(os.environ["RANK"]), "place": found}
        draft = self._folder / f"{place_name(self._local_rank)}.next"
        with contextlib.suppress(OSError):  # the stacks are in the log as well
            draft.write_text(json.dumps(place))
            draft.rename(self._folder / place_name(self._local_rank))

    def _take(self, data: bytes) -> None:
        self._log.write(data)
        self._tail += data
        del self._tail[:-TAIL_BYTES]
        for piece in pieces(data):
            left = piece
            while left:
                left = left[os.write(1, left) :]


def main(limit_bytes: int, program: list[str]) -> int:
    """Run the program as torchrun would. Returns its status: negative = the signal."""
    folder = Path(os.environ["WATTLINE_TASK_DIR"])
    rank = _Rank(folder, limit_bytes, program)
    status = rank.run()
    if status and not rank.signals.is_stopped:
        error, text = error_in_file(Path(os.environ.get("TORCHELASTIC_ERROR_FILE", "")))
        if not error:
            error, text = describe(status), rank.tail
        record_failure(folder, int(os.environ["RANK"]), error, text, time.time())
    return status


def end_as(status: int) -> None:
    """End this process as the program ended."""
    if status < 0:
        with contextlib.suppress(OSError, ValueError):  # SIGKILL has no handler
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    end_as(main(int(sys.argv[1]), sys.argv[2:]))
