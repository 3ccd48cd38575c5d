"""A user at a terminal: a verb on a pseudo-terminal, keys typed, and what it shows."""

import os
import re
import select
import signal
import subprocess
import termios
import time
from types import TracebackType
from typing import Self

from support.programs.cli_site import PATIENCE_S, CliSite

READ_BYTES = 65_536


class UserTerminal:
    """A running verb with its terminal of 100 x 30; killed at the end of the block."""

    def __init__(self, site: CliSite, *arguments: str, user: str = "admin") -> None:
        self._ours, self._theirs = os.openpty()
        termios.tcsetwinsize(self._theirs, (30, 100))
        self.before = termios.tcgetattr(self._theirs)
        environ = {"TERM": "xterm-256color", "WATTLINE_BUNDLE": str(site.bundle(user))}
        self.process = subprocess.Popen(
            site.command(*arguments),
            env={**site.environ, **environ},
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
        )
        self.shown = b""
        """All that was shown."""
        self._seen = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        for descriptor in (self._ours, self._theirs):
            os.close(descriptor)

    @property
    def modes(self) -> object:
        """Of its terminal, as stty shows them."""
        return termios.tcgetattr(self._theirs)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        """As a user who draws the window larger."""
        termios.tcsetwinsize(self._ours, (rows, columns))
        self.process.send_signal(signal.SIGWINCH)

    def until(self, pattern: str) -> re.Match[bytes]:
        """Read until it shows the pattern, after what was found before."""
        until_s = time.monotonic() + PATIENCE_S
        while (found := re.compile(pattern.encode()).search(self.shown, self._seen)) is None:
            assert time.monotonic() < until_s, f"{pattern} not in {self.shown[-2000:]!r}"
            self._read(0.5)
        self._seen = found.end()
        return found

    def ended(self) -> int:
        """Read until the verb ends; its exit status."""
        until_s = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < until_s, f"it runs: {self.shown[-2000:]!r}"
            self._read(0.05)
        while self._read(0):
            pass
        return self.process.returncode

    def _read(self, patience_s: float) -> bool:
        if not select.select([self._ours], [], [], patience_s)[0]:
            return False
        self.shown += os.read(self._ours, READ_BYTES)
        return True
