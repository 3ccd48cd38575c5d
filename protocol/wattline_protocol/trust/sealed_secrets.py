"""Seals a secret for one node: libsodium's sealed box, to the node's own CURVE key.

Anyone can seal for a node, and only that node can open. The box does not authenticate its sender:
the scheduler, which passes it on, has checked the permission. The content names node, user and
entry, so that no value is stored under another name, and the time of sealing, so that an old one is
not stored again.
"""

from typing import Annotated

import msgspec
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox
from zmq.utils import z85

from wattline_protocol.data.secrets import MAX_VALUE_BYTES, Entry
from wattline_protocol.trust.keys import check_key
from wattline_protocol.wire.bounds import Serial


class SecretValue(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A value for an entry of a user on a node. Its text form hides the value."""

    node: Annotated[str, msgspec.Meta(max_length=128)]
    user: Entry
    entry: Entry
    sealed_unix_us: Serial[int]
    """By the clock of the sender."""
    value: Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_VALUE_BYTES)]

    def __repr__(self) -> str:
        return f"SecretValue(node={self.node!r}, user={self.user!r}, entry={self.entry!r}, …)"


class NotSealed(ValueError):
    """Bytes that this node cannot open, or that hold no secret; the text has nothing of them."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(SecretValue).decode


def seal(secret: SecretValue, public_key: str) -> bytes:
    """`public_key`: the node's, z85. Raises ValueError."""
    raw = z85.decode(check_key(public_key).encode("ascii"))
    return bytes(SealedBox(PublicKey(raw)).encrypt(_encode(secret)))


def unseal(sealed: bytes, secret_key: str) -> SecretValue:
    """`secret_key`: of the node that opens it, z85. Raises NotSealed."""
    raw = z85.decode(check_key(secret_key).encode("ascii"))
    try:
        return _decode(SealedBox(PrivateKey(raw)).decrypt(sealed))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise NotSealed("what is sealed is no secret") from None
    except (CryptoError, ValueError, TypeError):
        raise NotSealed("it is not sealed for this node's key") from None
