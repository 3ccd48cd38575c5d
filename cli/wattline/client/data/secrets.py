"""Secrets: sealed here for each node, so that no other program ever has the value."""

import time
from collections.abc import Iterable, Iterator, Sequence

from wattline.client.asking import RequestClient
from wattline.client.errors import BadRequest
from wattline_protocol.data.secrets import (
    MAX_BATCH_BYTES,
    MAX_VALUE_BYTES,
    GetSecretKeys,
    ListSecrets,
    NotDone,
    PutSecret,
    RemoveSecret,
    SecretKeys,
    SecretNode,
    Secrets,
    SecretsDone,
    SecretView,
)
from wattline_protocol.ids import NodeId
from wattline_protocol.text.names import check_name

NS_PER_US = 1_000


class SecretActs(RequestClient):
    """Acts on secrets: a user's own ones, those of all for operators."""

    def put_secret(
        self, entry: str, value: bytes, *, user: str = "", nodes: Sequence[str] = ()
    ) -> SecretsDone:
        """Have nodes store a value, all unless some are named: on their disks when this returns.

        Nodes that are away are in `failed`, and keep what they have. The value reaches the
        scheduler only sealed to the nodes' own keys. `user`: whose, by default one's own."""
        if not 0 < len(value) <= MAX_VALUE_BYTES:
            raise BadRequest(f"a value of {len(value)} bytes; it has 1 to {MAX_VALUE_BYTES}")
        owner = self._checked(entry, user)
        known = self.get(GetSecretKeys(tuple(map(NodeId, nodes))), SecretKeys).nodes
        done: list[NodeId] = []
        failed = [NotDone(node.node, node.away) for node in known if node.away]
        for batch in _batches([node for node in known if not node.away], owner, entry, value):
            answer = self.get(PutSecret(owner, entry, batch), SecretsDone)
            done += answer.done
            failed += answer.failed
        return SecretsDone(tuple(done), tuple(failed))

    def remove_secret(
        self, entry: str, *, user: str = "", nodes: Sequence[str] = ()
    ) -> SecretsDone:
        """Have nodes remove an entry, all unless some are named."""
        owner = self._checked(entry, user)
        return self.get(RemoveSecret(owner, entry, tuple(map(NodeId, nodes))), SecretsDone)

    def secrets(self) -> tuple[SecretView, ...]:
        """Names of entries with the number of nodes that have each; never values."""
        return self.get(ListSecrets(), Secrets).secrets

    def _checked(self, entry: str, user: str) -> str:
        try:
            check_name(entry)
            return check_name(user or self.me.user)
        except ValueError as error:
            raise BadRequest(f"a secret: {error}") from error


def _batches(
    nodes: Iterable[SecretNode], owner: str, entry: str, value: bytes
) -> Iterator[dict[NodeId, bytes]]:
    """Sealed values by node, as many as fit in one message."""
    # With the first, not before: it takes 0.1 s, which no other verb needs.
    from wattline_protocol.trust.sealed_secrets import SecretValue, seal

    now_us = time.time_ns() // NS_PER_US
    batch: dict[NodeId, bytes] = {}
    size = 0
    for node in nodes:
        sealed = seal(SecretValue(node.node, owner, entry, now_us, value), node.key)
        if batch and size + len(sealed) > MAX_BATCH_BYTES:
            yield batch
            batch, size = {}, 0
        batch[node.node] = sealed
        size += len(sealed) + len(node.node)
    if batch:
        yield batch
