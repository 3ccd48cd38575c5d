"""Acts on secrets."""

import getpass
import sys
from typing import Literal

import msgspec

from wattline import exits
from wattline.client import Client
from wattline.failures import ActFailed
from wattline.verbs.run import Outcome
from wattline_protocol.data.secrets import MAX_VALUE_BYTES, NotDone, SecretsDone, SecretView
from wattline_protocol.ids import NodeId
from wattline_protocol.wire.bounds import CONTROL


class SecretChange(msgspec.Struct, frozen=True):
    """Result of `secret put` and `secret rm`, by node."""

    entry: str
    user: str
    what: Literal["stored on", "removed from"]
    done: tuple[NodeId, ...]
    failed: tuple[NotDone, ...]


def put(client: Client, *, entry: str, user: str | None, node: tuple[str, ...]) -> Outcome:
    """Store a value from stdin, or typed; never from an argument, which all processes can read."""
    done = client.put_secret(entry, _value(), user=user or "", nodes=node)
    return _outcome("stored on", entry, user or client.me.user, done)


def remove(client: Client, *, entry: str, user: str | None, node: tuple[str, ...]) -> Outcome:
    """Remove an entry from nodes."""
    done = client.remove_secret(entry, user=user or "", nodes=node)
    return _outcome("removed from", entry, user or client.me.user, done)


def secrets(client: Client) -> tuple[SecretView, ...]:
    """Names of entries, by user."""
    return client.secrets()


def _value() -> bytes:
    if sys.stdin.isatty():
        return _typed(getpass.getpass("Value (not shown): "))
    value = sys.stdin.buffer.read(MAX_VALUE_BYTES + 1)
    if not value:
        raise ActFailed("stdin is empty: wattline secret put ENTRY < FILE", exits.USAGE)
    if len(value) > MAX_VALUE_BYTES:
        raise ActFailed(f"stdin has over {MAX_VALUE_BYTES} bytes, the maximum", exits.USAGE)
    return value


def _typed(text: str) -> bytes:
    """A key that is no character, as an arrow, would be in the value unseen."""
    if not text:
        raise ActFailed("no value was typed", exits.USAGE)
    if CONTROL.search(text):
        raise ActFailed("a control character was typed: use a file, as in < FILE", exits.USAGE)
    value = text.encode()
    if len(value) > MAX_VALUE_BYTES:
        raise ActFailed(f"over {MAX_VALUE_BYTES} bytes, the maximum", exits.USAGE)
    return value


def _outcome(
    what: Literal["stored on", "removed from"], entry: str, user: str, done: SecretsDone
) -> Outcome:
    """Not done on every node is a failure: it is to be repeated for the others."""
    status = exits.FAILED if done.failed or not done.done else exits.OK
    return Outcome(SecretChange(entry, user, what, done.done, done.failed), status)
