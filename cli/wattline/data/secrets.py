"""Acts on secrets."""

import getpass
import sys

from wattline import exits
from wattline.client import Client
from wattline.failures import ActFailed
from wattline.verbs.run import Outcome
from wattline_protocol.data.secrets import MAX_VALUE_BYTES, SecretsDone, SecretView
from wattline_protocol.text.wording import counted, listed
from wattline_protocol.wire.bounds import CONTROL

MAX_NAMED = 5
"""Nodes named for one reason."""


def put(client: Client, *, entry: str, user: str | None, node: tuple[str, ...]) -> Outcome:
    """Store a value from stdin, or typed; never from an argument, which all processes can read."""
    done = client.put_secret(entry, _value(), user=user or "", nodes=node)
    whose = f"secret {entry}" + (f" of user {user}" if user else "")
    return Outcome(report(done, whose, "stored on"), _status(done))


def remove(client: Client, *, entry: str, user: str | None, node: tuple[str, ...]) -> Outcome:
    """Remove an entry from nodes."""
    done = client.remove_secret(entry, user=user or "", nodes=node)
    whose = f"secret {entry}" + (f" of user {user}" if user else "")
    return Outcome(report(done, whose, "removed from"), _status(done))


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


def report(done: SecretsDone, what: str, where: str) -> str:
    """secret wandb: stored on 498 of 500 nodes; not on gpu-03, gpu-07: silent."""
    total = len(done.done) + len(done.failed)
    text = f"{what}: {where} {len(done.done)} of {counted(total, 'node')}"
    by_reason: dict[str, list[str]] = {}
    for one in done.failed:
        by_reason.setdefault(one.why, []).append(one.node)
    parts = (f"not on {listed(nodes, MAX_NAMED)}: {why}" for why, nodes in by_reason.items())
    return "; ".join((text, *parts))


def _status(done: SecretsDone) -> int:
    """Not done on every node is a failure: it is to be repeated for the others."""
    return exits.FAILED if done.failed or not done.done else exits.OK
