"""First messages: parsed across versions, just far enough to refuse another version."""

import msgspec

from wattline_protocol.wire.agent_messages import PROTOCOL_VERSION
from wattline_protocol.wire.transport import Incoming, ServerSocket


class _AnyHello(msgspec.Struct, frozen=True):
    t: str
    protocol: int


_decoder = msgspec.msgpack.Decoder(_AnyHello)
_HELLOS = frozenset({"hello", "client_hello"})


def refused_version(socket: ServerSocket, incoming: Incoming) -> str:
    """Text for a first message of another version, which is counted as refused; empty = it is not
    one."""
    spoken = _spoken_version(incoming.data) if b"hello" in incoming.data[:64] else None
    if spoken is None or spoken == PROTOCOL_VERSION:
        return ""
    socket.refuse(incoming, "wrong_version", f"protocol {spoken}")
    return (
        f"protocol version {spoken} is not supported, this scheduler uses {PROTOCOL_VERSION}: "
        "install the same release of Wattline on both sides"
    )


def _spoken_version(data: bytes) -> int | None:
    try:
        hello = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return hello.protocol if hello.t in _HELLOS else None
