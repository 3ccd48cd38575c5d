"""A child of the fetch process that works in one store with the rights of one account.

It is not trusted, and may hang or be stopped for ever: its answers are bounded and checked where
they are read.
"""

import resource
import socket
import subprocess
import sys
from contextlib import suppress
from typing import BinaryIO

import msgspec

from wattline_runtime.data.fetch.frames import ReadFailed
from wattline_runtime.data.fetch.opening import Opening
from wattline_runtime.data.fetch.strays import CHILDREN

STALL_S = 90.0
"""Without a byte for so long, a child is ended. Its store may hang; and tasks of its account may
stop it, for ever."""
CLOSE_S = 5.0
"""A child that the kernel does not end so soon is left to it."""
MEMORY_BYTES = 4 * 1024**3
"""Of address space of a child: a store may send more than it said."""
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


class AccountChild:
    """The child, and this end of its socket. Raises ReadFailed where it cannot run."""

    def __init__(self, module: str, opening: Opening) -> None:
        self._link, theirs = socket.socketpair()
        self._link.settimeout(STALL_S)
        self.answers: BinaryIO = self._link.makefile("rb")
        try:
            with theirs:
                self._child = CHILDREN.start(lambda: _started(module, theirs.fileno()))
        except OSError as error:
            self._disconnect()
            raise ReadFailed("away", f"its child cannot start: {error.strerror}") from error
        try:
            with suppress(ProcessLookupError):  # it has ended: there is no answer
                resource.prlimit(self._child.pid, resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
            self.send(opening)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._child.pid

    def send(self, request: msgspec.Struct) -> None:
        """One line."""
        try:
            self._link.sendall(msgspec.json.encode(request) + b"\n")
        except OSError as error:
            raise ReadFailed("away", "its reader has ended") from error

    def kill(self) -> None:
        """End the child, from any thread: a pending read raises ReadFailed."""
        self._child.kill()

    def close(self) -> None:
        """End the child, whatever it waits for."""
        self._child.kill()
        self._disconnect()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(CLOSE_S)
        CHILDREN.ended(self._child.pid)

    def _disconnect(self) -> None:
        self.answers.close()
        self._link.close()


def _started(module: str, link: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-I", "-m", module],
        stdin=link,
        stdout=link,
        env=ENVIRONMENT,
        cwd="/",
        start_new_session=True,
    )
