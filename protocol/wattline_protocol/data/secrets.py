"""Messages about secrets: names, and values that only one node can open (`trust.sealed_secrets`).

The scheduler passes sealed values on and stores nothing of them.
"""

from typing import Annotated

import msgspec

from wattline_protocol.ids import Epoch, Incarnation, NodeId
from wattline_protocol.text.names import MAX_NAME_CHARS, NAME
from wattline_protocol.wire.bounds import MAX_MANY, Many, Name, Sentence, Serial

MAX_VALUE_BYTES = 64 * 1024
MAX_SEALED_BYTES = MAX_VALUE_BYTES + 1024
MAX_OF_USER = 256
"""Entries of one user on a node."""
MAX_OF_NODE = 4_096
MAX_BATCH_BYTES = 2 * 1024 * 1024
"""Sealed values of one request; more nodes are several requests."""

Sealed = Annotated[bytes, msgspec.Meta(max_length=MAX_SEALED_BYTES)]

Entry = Annotated[str, msgspec.Meta(max_length=MAX_NAME_CHARS, pattern=rf"\A{NAME}\Z")]
"""Name of an entry, or of its user."""

# --- Scheduler and agent ------------------------------------------------------------------


class StoreSecret(msgspec.Struct, frozen=True, tag_field="t", tag="store_secret"):
    """Store a value that is sealed for this node. Not resent; answered by SecretDone."""

    request: Serial[int]
    user: Entry
    entry: Entry
    sealed: Sealed


class DropSecret(msgspec.Struct, frozen=True, tag_field="t", tag="drop_secret"):
    """Remove an entry. Not resent; answered by SecretDone."""

    request: Serial[int]
    user: Entry
    entry: Entry


class SecretDone(msgspec.Struct, frozen=True, tag_field="t", tag="secret_done"):
    """It is on disk, or removed there."""

    request: Serial[int]
    error: Sentence = ""
    """Why not, without anything of the value; empty = done."""


class SecretName(msgspec.Struct, frozen=True, array_like=True):
    """An entry of a user."""

    user: Entry
    entry: Entry


class SecretNames(msgspec.Struct, frozen=True, tag_field="t", tag="secret_names"):
    """All entries that the node can give to tasks; sent after Adopted, and on change."""

    epoch: Serial[Epoch]
    incarnation: Serial[Incarnation]
    names: Annotated[tuple[SecretName, ...], msgspec.Meta(max_length=MAX_OF_NODE)]


# --- Clients ------------------------------------------------------------------------------


class GetSecretKeys(msgspec.Struct, frozen=True, tag_field="t", tag="get_secret_keys"):
    """Keys to seal a value to. No `nodes`: of all."""

    nodes: Many[Name[NodeId]] = ()


class PutSecret(msgspec.Struct, frozen=True, tag_field="t", tag="put_secret"):
    """Have these nodes store a value, sealed for each."""

    user: Name[str]
    entry: Name[str]
    sealed: Annotated[dict[Name[NodeId], Sealed], msgspec.Meta(max_length=MAX_MANY)]


class RemoveSecret(msgspec.Struct, frozen=True, tag_field="t", tag="remove_secret"):
    """Have nodes remove an entry. No `nodes`: all."""

    user: Name[str]
    entry: Name[str]
    nodes: Many[Name[NodeId]] = ()


class ListSecrets(msgspec.Struct, frozen=True, tag_field="t", tag="list_secrets"):
    """Names of entries: a submitter's own ones, all for operators."""


SecretRequest = GetSecretKeys | PutSecret | RemoveSecret | ListSecrets


class SecretNode(msgspec.Struct, frozen=True):
    """A node that may be given a value."""

    node: NodeId
    key: str
    """Its public key, z85."""
    away: str = ""
    """Why it can store nothing now; empty = it can."""


class SecretKeys(msgspec.Struct, frozen=True, tag_field="t", tag="secret_keys"):
    nodes: tuple[SecretNode, ...]


class NotDone(msgspec.Struct, frozen=True):
    """A node that has not done it."""

    node: NodeId
    why: str


class SecretsDone(msgspec.Struct, frozen=True, tag_field="t", tag="secrets_done"):
    """Result of PutSecret or RemoveSecret by node."""

    done: tuple[NodeId, ...]
    failed: tuple[NotDone, ...] = ()


class SecretView(msgspec.Struct, frozen=True):
    """An entry, without its value."""

    user: str
    entry: str
    nodes: int
    """That report it."""
    of_nodes: int
    """That report their entries at all."""


class Secrets(msgspec.Struct, frozen=True, tag_field="t", tag="secrets"):
    secrets: tuple[SecretView, ...]
    is_cut: bool = False


SecretAnswer = SecretKeys | SecretsDone | Secrets
