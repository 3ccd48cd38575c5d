"""First messages: parsed across versions, just far enough to refuse another version."""

import msgspec

from wattline_protocol.wire.agent_messages import PROTOCOL_VERSION


class _AnyHello(msgspec.Struct, frozen=True):
    t: str
    protocol: int


_decoder = msgspec.msgpack.Decoder(_AnyHello)
_HELLOS = frozenset({"hello", "client_hello"})


def spoken_version(data: bytes) -> int | None:
    """The protocol version that a first message names; None where `data` is no first message."""
    try:
        hello = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return hello.protocol if hello.t in _HELLOS else None


def version_refusal(spoken: int) -> str:
    """Refusal of another version."""
    return (
        f"protocol version {spoken} is not supported, this scheduler uses {PROTOCOL_VERSION}: "
        "install the same release of Wattline on both sides"
    )
