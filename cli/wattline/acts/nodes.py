"""Acts on nodes."""

import sys

from wattline.client import Client
from wattline.failures import ActFailed
from wattline_protocol.views import NodeView


def nodes(client: Client) -> tuple[NodeView, ...]:
    """All nodes."""
    return client.nodes()


def node(client: Client, *, node: str) -> NodeView:
    """One node."""
    return client.node(node)


def node_off(client: Client, *, node: str, confirm: str | None, reason: str) -> str:
    """Declare it off, once its name was given twice."""
    if confirm is None:
        confirm = _typed_again(node)
    if confirm != node:
        raise ActFailed(
            f"the confirmation {confirm!r} is not the node's name {node!r}; nothing was done",
            status=2,
        )
    return client.declare_off(node, confirmation=confirm, reason=reason)


def _typed_again(node: str) -> str:
    if not sys.stdin.isatty():
        raise ActFailed(f"confirm that {node} draws nothing with --confirm {node}", status=2)
    print(
        f"The books will count {node} as drawing nothing. If it is not switched off, a breaker "
        f"may trip.\nType its name to confirm: ",
        end="",
        file=sys.stderr,
        flush=True,
    )
    return sys.stdin.readline().strip()


def node_on(client: Client, *, node: str) -> str:
    """Take it back."""
    return client.declare_on(node)


def drain(client: Client, *, node: str, reason: str) -> str:
    """Start nothing new there."""
    return client.drain(node, reason)


def undrain(client: Client, *, node: str) -> str:
    """Start tasks there again."""
    return client.undrain(node)
