"""What Linux knows of a TCP connection (`struct tcp_info`, whose beginning is fixed)."""

import asyncio
import socket
import struct

BYTES = 128
STATE_AT = 0
BYTES_ACKED_AT = 120
CLOSE_WAIT = 8
"""The client has sent FIN; it may still read."""


def acked_bytes(transport: asyncio.BaseTransport) -> int | None:
    """Bytes that the client has acknowledged; None = unknown."""
    info = _read(transport)
    if info is None:
        return None
    (acked,) = struct.unpack_from("=Q", info, BYTES_ACKED_AT)
    return int(acked)


def is_half_closed(transport: asyncio.BaseTransport) -> bool:
    """Whether the client sends no more, but has not refused what was sent to it since."""
    info = _read(transport)
    return info is not None and info[STATE_AT] == CLOSE_WAIT


def _read(transport: asyncio.BaseTransport) -> bytes | None:
    """None: it is no TCP, or not Linux."""
    sock = transport.get_extra_info("socket")
    try:
        info: bytes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES)
    except (AttributeError, OSError):
        return None
    return info if len(info) >= BYTES else None
