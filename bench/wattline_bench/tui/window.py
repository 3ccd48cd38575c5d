"""A program in a pseudo-terminal: keys in, and when it wrote what."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from threading import Lock, Thread

import psutil

COLUMNS, LINES = 200, 60
READ_BYTES = 1 << 16
END_S = 10.0
LOOK_S = 0.05


class Window:
    """One program; a thread reads what it writes, so that it never waits for its terminal."""

    def __init__(self, command: Sequence[str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self._process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)
        self.program = psutil.Process(self._process.pid)
        self._lock = Lock()
        self._writes: list[tuple[float, int]] = []
        self.newest = b""
        """The newest bytes, to say what went wrong."""
        self._thread = Thread(target=self._read, name="window", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                select.select([self._master], [], [])
                data = os.read(self._master, READ_BYTES)
            except OSError:  # Linux: the program has closed its side
                return
            with self._lock:
                self._writes.append((time.monotonic(), len(data)))
                self.newest = (self.newest + data)[-4_096:]

    def press(self, key: bytes) -> float:
        """Press a key; returns when."""
        now_s = time.monotonic()
        os.write(self._master, key)
        return now_s

    @property
    def writes(self) -> list[tuple[float, int]]:
        """When it wrote, and how many bytes."""
        with self._lock:
            return list(self._writes)

    def wait_writes(self, after_s: float, within_s: float) -> None:
        """Until it has written something after then. Raises RuntimeError."""
        until_s = time.monotonic() + within_s
        while True:
            is_over = not self._thread.is_alive() or time.monotonic() > until_s
            if any(at_s > after_s for at_s, _ in self.writes[-1:]):
                return
            if is_over:
                end = self.newest.decode(errors="replace")
                raise RuntimeError(f"the terminal shows nothing; it wrote {end!r}")
            time.sleep(LOOK_S)

    @property
    def is_running(self) -> bool:
        """It has not ended."""
        return self._process.poll() is None

    def close(self) -> None:
        """Ask it to end, then kill it."""
        if self.is_running:
            self.press(b"q")
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join(END_S)  # until it has read the last that was written
        os.close(self._master)


def burst_end(writes: Sequence[tuple[float, int]], after_s: float, gap_s: float) -> float | None:
    """When it had written all that it began to write after then; None: it wrote nothing."""
    ended_s = None
    for at_s, _ in writes:
        if at_s < after_s:
            continue
        if ended_s is not None and at_s - ended_s > gap_s:
            break
        ended_s = at_s
    return ended_s
