"""The child of the fetch process that reads one store, with the rights of one account."""

import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import msgspec

from wattline_protocol.data.requests import DataPlace
from wattline_runtime.data.fetch.frames import ReadFailed, Request, read_frames

STALL_S = 90.0
"""Without a byte for so long, a reader is ended. Its store may hang; and tasks of its account may
stop it, for ever."""
CLOSE_S = 5.0
"""A child that the kernel does not end so soon is left to it."""
MEMORY_BYTES = 4 * 1024**3
"""Of address space of a child: a store may send more than it said."""
READ_MODULE = "wattline_runtime.data.fetch.read"
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
MAX_DIGITS = 18


class Opening(msgspec.Struct, frozen=True):
    """First line to the child. The secret is in no argument and no variable."""

    place: DataPlace
    account: str = ""
    """Whose rights the child keeps before it opens the store; empty = those it has."""
    secret: bytes = b""
    """Lines of NAME=VALUE."""


class StoreReader:
    """A child that reads one store. Raises ReadFailed where it cannot run."""

    def __init__(self, opening: Opening) -> None:
        self._link, theirs = socket.socketpair()
        self._link.settimeout(STALL_S)
        self._answers = self._link.makefile("rb")
        try:
            with theirs:
                self._child = subprocess.Popen(
                    [sys.executable, "-I", "-m", READ_MODULE],
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    env=ENVIRONMENT,
                    cwd="/",
                    start_new_session=True,
                )
        except OSError as error:
            self._disconnect()
            raise ReadFailed("away", f"its reader cannot start: {error.strerror}") from error
        try:
            with suppress(ProcessLookupError):  # it has ended: there is no answer
                resource.prlimit(self._child.pid, resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
            self._send(msgspec.json.encode(opening))
        except BaseException:
            self.close()
            raise

    def request(self, key: str) -> None:
        """Ask for a key; the answers come in the same order."""
        self._send(msgspec.json.encode(Request(key)))

    def size(self, key: str) -> int:
        """Size of a key, asked for while no answer is due. Raises ReadFailed."""
        self._send(msgspec.json.encode(Request(key, is_size=True)))
        digits = b"".join(self.answer())
        if not digits.isdigit() or len(digits) > MAX_DIGITS:
            raise ReadFailed("unreadable", "its reader sent no size")
        return int(digits)

    def answer(self) -> Iterator[bytes]:
        """The bytes of the next answer. Raises ReadFailed."""
        return read_frames(self._answers)

    def _send(self, line: bytes) -> None:
        try:
            self._link.sendall(line + b"\n")
        except OSError as error:
            raise ReadFailed("away", "its reader has ended") from error

    def close(self) -> None:
        """End the child, whatever it waits for."""
        self._child.kill()
        self._disconnect()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(CLOSE_S)

    def _disconnect(self) -> None:
        self._answers.close()
        self._link.close()
