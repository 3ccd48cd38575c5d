"""Every message of every union survives the wire, and no bytes do anything but be refused."""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.strategies.structs import members_of, values_of
from wattline_protocol.wire.agent_messages import FromAgent, ToAgent
from wattline_protocol.wire.client_messages import Answer, FromClient, Request, ToClient
from wattline_protocol.wire.codec import Codec, MalformedMessage

UNIONS = {
    "FromAgent": FromAgent,
    "ToAgent": ToAgent,
    "FromClient": FromClient,
    "ToClient": ToClient,
    "Request": Request,
    "Answer": Answer,
}
MESSAGES = [(name, member) for name, union in UNIONS.items() for member in members_of(union)]
CODECS: dict[str, Codec[Any]] = {name: Codec(union) for name, union in UNIONS.items()}
QUICK = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.parametrize(
    ("union", "message"), MESSAGES, ids=[f"{name}-{m.__name__}" for name, m in MESSAGES]
)
def test_every_message_survives_the_wire(union: str, message: type[msgspec.Struct]) -> None:
    @QUICK
    @given(value=values_of(message))
    def check(value: msgspec.Struct) -> None:
        codec = CODECS[union]
        data = codec.encode(value)
        assert codec.decode(data) == value
        assert type(codec.decode(data)) is message

    check()


@pytest.mark.parametrize("union", UNIONS)
def test_garbage_is_malformed_and_nothing_else(union: str) -> None:
    @settings(max_examples=100, deadline=None)
    @given(data=st.binary(max_size=200))
    def check(data: bytes) -> None:
        _decode_or_refuse(union, data)

    check()


@pytest.mark.parametrize("union", ["FromAgent", "FromClient"])
def test_damaged_messages_are_read_or_refused_in_words(union: str) -> None:
    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(value=values_of(UNIONS[union]), data=st.data())
    def check(value: msgspec.Struct, data: st.DataObject) -> None:
        encoded = bytearray(CODECS[union].encode(value))
        at = data.draw(st.integers(0, len(encoded) - 1))
        encoded[at] ^= data.draw(st.integers(1, 255))
        _decode_or_refuse(union, bytes(encoded[: data.draw(st.integers(0, len(encoded)))]))

    check()


@pytest.mark.parametrize("second", [5, None, 1.5, "x", [1], {"x": 1}, b"x", True])
def test_a_key_that_comes_twice_is_malformed_and_nothing_else(second: object) -> None:
    """The decoder refuses the first value; the text about it is made from the second one."""
    wrong = _map(("t", "update"), ("which", {}), ("changes", {"x": {}}), ("changes", second))
    text = r"request\.changes\[\.\.\.\]: expected .* got object"
    with pytest.raises(MalformedMessage, match=text):
        CODECS["FromClient"].decode(_map(("t", "ask"), ("ask", 1), ("request", wrong)))


def test_the_text_about_a_deep_value_is_no_deeper() -> None:
    for depth in range(900, 1_001):
        deep = msgspec.Raw(b"\x91" * depth + b"\x01")
        wrong = _map(("t", "drain"), ("node", "a"), ("reason", "\x1b"), ("reason", deep))
        with pytest.raises(MalformedMessage, match=r"request\.reason"):
            CODECS["FromClient"].decode(_map(("t", "ask"), ("ask", 1), ("request", wrong)))


def _map(*entries: tuple[str, object]) -> msgspec.Raw:
    """A map of MessagePack; no dict has a key twice."""
    encode = msgspec.msgpack.encode
    return msgspec.Raw(
        bytes((0x80 | len(entries),)) + b"".join(encode(k) + encode(v) for k, v in entries)
    )


def _decode_or_refuse(union: str, data: bytes) -> None:
    """The message, or words; any other exception fails the test."""
    try:
        got = CODECS[union].decode(data)
    except MalformedMessage as error:
        got = str(error)
    assert isinstance(got, (str, *members_of(UNIONS[union])))
    assert got != ""


@pytest.mark.parametrize("union", UNIONS)
def test_unknown_fields_are_ignored_and_unknown_tags_refused(union: str) -> None:
    codec = CODECS[union]
    examples: dict[str, dict[str, Any]] = {
        "FromAgent": {"t": "farewell", "epoch": 1, "incarnation": 2},
        "ToAgent": {"t": "rollups_seen", "last": 1},
        "FromClient": {"t": "client_hello", "protocol": 1, "client": "x"},
        "ToClient": {"t": "refused", "protocol": 1, "reason": "x"},
        "Request": {"t": "get_site"},
        "Answer": {"t": "submitted", "job": 1},
    }
    simplest = examples[union]
    newer = msgspec.msgpack.encode({**simplest, "from_a_later_version": [1, {"x": 2}]})
    assert codec.decode(newer) == codec.decode(msgspec.msgpack.encode(simplest))
    with pytest.raises(MalformedMessage, match="the message unheard_of is not known"):
        codec.decode(msgspec.msgpack.encode({**simplest, "t": "unheard_of"}))


def test_deep_nesting_is_malformed_and_no_crash() -> None:
    for opening in (b"\x91", b"\x81\xa1t"):
        with pytest.raises(MalformedMessage):
            Codec[Any](FromAgent).decode(opening * 1_000_000)


def test_sizes_are_limited_on_both_sides() -> None:
    codec: Codec[Any] = Codec(FromClient, max_bytes=50)
    with pytest.raises(MalformedMessage, match="51 bytes, at most 50 allowed"):
        codec.decode(b"x" * 51)
    hello = msgspec.msgpack.decode(
        msgspec.msgpack.encode({"t": "client_hello", "protocol": 1, "client": "x" * 60}),
        type=FromClient,
    )
    with pytest.raises(ValueError, match="over the limit of 50 bytes"):
        codec.encode(hello)
