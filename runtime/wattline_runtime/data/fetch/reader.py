"""The child of the fetch process that reads one store, as the account that may read it."""

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import msgspec

from wattline_protocol.data.requests import DataPlace
from wattline_runtime.data.fetch.frames import ReadFailed, Request, read_frames

READ_MODULE = "wattline_runtime.data.fetch.read"
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
MAX_DIGITS = 18


class Opening(msgspec.Struct, frozen=True):
    """First line to the child. The secret is in no argument and no variable."""

    place: DataPlace
    secret: bytes = b""
    """Lines of NAME=VALUE."""


class StoreReader:
    """A child that reads one store. Raises ReadFailed where it cannot run as the account."""

    def __init__(self, opening: Opening, account: str) -> None:
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-m", READ_MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd="/",
                start_new_session=True,
                **_as_account(account),
            )
        except OSError as error:
            raise ReadFailed("refused", f"cannot start as {account}: {error.strerror}") from error
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


def _as_account(account: str) -> dict[str, Any]:
    """How `Popen` becomes the account; nothing where the process is it already. Raises
    ReadFailed."""
    own = os.geteuid()
    try:
        found = pwd.getpwnam(account) if account else pwd.getpwuid(own)
    except KeyError as error:
        text = f"the host has no account {account or own}"
        raise ReadFailed("refused", text) from error
    env = {**ENVIRONMENT, "HOME": found.pw_dir, "USER": found.pw_name, "LOGNAME": found.pw_name}
    if found.pw_uid == own:
        return {"env": env}
    if own != 0:
        text = f"the keeper is not root and cannot read a store as {account}"
        raise ReadFailed("refused", text)
    groups = os.getgrouplist(found.pw_name, found.pw_gid)
    return {"env": env, "user": found.pw_uid, "group": found.pw_gid, "extra_groups": groups}
