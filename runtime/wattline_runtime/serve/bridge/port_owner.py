"""Whose listening socket takes connections to a port of loopback, by the tables of Linux.

A free port is free to every account of the host: one may listen there before the server that it
was meant for does, and would get the requests of others.
"""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

TABLES = Path("/proc/net")
ROOT = 0
LISTENS = "0A"
"""State of a socket that listens (TCP_LISTEN)."""

_LOOPBACK, _ANY = (socket.inet_aton(text) for text in ("127.0.0.1", "0.0.0.0"))  # noqa: S104
_MAPPED, _ANY_6 = bytes(10) + b"\xff\xff" + _LOOPBACK, bytes(16)


def other_account(port: int) -> int | None:
    """The account (uid) that takes connections to 127.0.0.1 at this port, if that is neither this
    process's own nor root, which may listen for a container and could read all anyway. None also
    if no socket listens, or if the kernel has no such tables."""
    found = dict[bytes, set[int]]()
    for address, uid in (*_listening("tcp", port), *_listening("tcp6", port)):
        found.setdefault(address, set()).add(uid)
    # The kernel prefers them in this order.
    uids = next((found[one] for one in (_LOOPBACK, _MAPPED, _ANY, _ANY_6) if one in found), set())
    return min(uids - {os.geteuid(), ROOT}, default=None)


def _listening(table: str, port: int) -> Iterator[tuple[bytes, int]]:
    """Address and account of each."""
    with suppress(OSError), (TABLES / table).open(encoding="ascii") as rows:
        next(rows, None)  # the header
        for row in rows:
            fields = row.split()
            address, _, number = fields[1].rpartition(":")
            if fields[3] == LISTENS and int(number, 16) == port:
                yield _bytes_of(address), int(fields[7])


def _bytes_of(words: str) -> bytes:
    """Of an address as words of 32 bits in the order of the host."""
    numbers = (int(words[at : at + 8], 16) for at in range(0, len(words), 8))
    return b"".join(number.to_bytes(4, sys.byteorder) for number in numbers)
