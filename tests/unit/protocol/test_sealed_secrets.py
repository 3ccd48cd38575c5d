"""Values sealed for one node: opened there only, and only as they were sealed."""

import msgspec
import pytest

from wattline_protocol.data.secrets import MAX_SEALED_BYTES, MAX_VALUE_BYTES, StoreSecret
from wattline_protocol.trust.keys import KeyPair
from wattline_protocol.trust.sealed_secrets import NotSealed, SecretValue, seal, unseal
from wattline_protocol.wire.bounds import MAX_SERIAL

NODE, OTHER = KeyPair.generate(), KeyPair.generate()
MARKER = b"m4rker-of-a-secret"


def test_what_is_sealed_is_opened_by_its_node_alone() -> None:
    value = SecretValue("n1", "ada", "wandb", 1, MARKER)
    sealed = seal(value, NODE.public)
    assert MARKER not in sealed
    assert unseal(sealed, NODE.secret) == value
    with pytest.raises(NotSealed, match="not sealed for this node's key"):
        unseal(sealed, OTHER.secret)


@pytest.mark.parametrize("at", [0, 40, -1])
def test_a_changed_byte_is_noticed(at: int) -> None:
    sealed = bytearray(seal(SecretValue("n1", "ada", "wandb", 1, MARKER), NODE.public))
    sealed[at] ^= 1
    with pytest.raises(NotSealed):
        unseal(bytes(sealed), NODE.secret)


@pytest.mark.parametrize("sealed", [b"", b"short", bytes(200)], ids=["none", "short", "zeros"])
def test_bytes_that_are_no_box_are_refused(sealed: bytes) -> None:
    with pytest.raises(NotSealed):
        unseal(sealed, NODE.secret)


def test_what_is_sealed_must_be_a_secret_within_bounds() -> None:
    for value in (b"", bytes(MAX_VALUE_BYTES + 1)):
        sealed = seal(SecretValue("n1", "ada", "wandb", 1, value), NODE.public)
        with pytest.raises(NotSealed, match="no secret"):
            unseal(sealed, NODE.secret)
    for user in ("", "a/b", "..", "a\nb"):
        sealed = seal(SecretValue("n1", user, "wandb", 1, MARKER), NODE.public)
        with pytest.raises(NotSealed, match="no secret"):
            unseal(sealed, NODE.secret)


def test_the_largest_value_fits_in_a_message() -> None:
    value = SecretValue("n" * 128, "u" * 64, "e" * 64, MAX_SERIAL, bytes(MAX_VALUE_BYTES))
    sealed = seal(value, NODE.public)
    assert len(sealed) <= MAX_SEALED_BYTES
    message = StoreSecret(1, "u" * 64, "e" * 64, sealed)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=StoreSecret) == message


def test_no_repr_shows_a_value() -> None:
    assert "m4rker" not in repr(SecretValue("n1", "ada", "wandb", 1, MARKER))
