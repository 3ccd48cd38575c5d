"""The child of the fetch process that reads one store, with the rights of one account."""

import subprocess
import sys
from collections.abc import Iterator
from typing import BinaryIO, cast

import msgspec

from wattline_protocol.data.requests import DataPlace
from wattline_runtime.data.fetch.frames import ReadFailed, Request, read_frames

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
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-m", READ_MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise ReadFailed("away", f"its reader cannot start: {error.strerror}") from error
        self._send(msgspec.json.encode(opening))

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
        return read_frames(cast("BinaryIO", self._child.stdout))

    def _send(self, line: bytes) -> None:
        requests = cast("BinaryIO", self._child.stdin)
        try:
            requests.write(line + b"\n")
            requests.flush()
        except OSError as error:
            raise ReadFailed("away", "its reader has ended") from error

    def close(self) -> None:
        """End the child, whatever it waits for."""
        self._child.kill()
        self._child.communicate()
