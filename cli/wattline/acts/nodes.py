"""Acts on nodes."""

import sys

from wattline import exits
from wattline.client import Client
from wattline.failures import ActFailed
from wattline.show.screen import put_error
from wattline_protocol.views.site_views import NodeView


def nodes(client: Client) -> tuple[NodeView, ...]:
    """All nodes."""
    return client.nodes()


def node(client: Client, *, node: str) -> NodeView:
    """One node."""
    return client.node(node)


def node_off(
    client: Client, *, node: str, confirm: str | None, power_off: bool, reason: str
) -> str:
    """Have the node confirmed off out of band, or declare it off by its name given twice."""
    if power_off and confirm is not None:
        raise ActFailed("--power-off is confirmed out of band; omit --confirm", exits.USAGE)
    if power_off or (confirm is None and _can_be_asked(client, node)):
        return client.declare_off(node, reason=reason, power_off=power_off)
    if confirm is None:
        confirm = _typed_again(node)
    if confirm != node:
        raise ActFailed(
            f"the confirmation {confirm!r} is not the node's name {node!r}; nothing was done",
            exits.USAGE,
        )
    return client.declare_off(node, confirmation=confirm, reason=reason)


def _can_be_asked(client: Client, node: str) -> bool:
    return client.node(node).out_of_band != "none"


def _typed_again(node: str) -> str:
    if not sys.stdin.isatty():
        raise ActFailed(f"confirm that {node} has no power with --confirm {node}", exits.USAGE)
    print(
        f"The books will count {node} as drawing nothing. If it is not switched off, a breaker "
        f"may trip.\nType its name to confirm: ",
        end="",
        file=sys.stderr,
        flush=True,
    )
    return sys.stdin.readline().strip()


def node_on(client: Client, *, node: str) -> str:
    """Undo `node_off`."""
    return client.declare_on(node)


def readmit(client: Client, *, node: str, reason: str) -> str:
    """Trust its agent again."""
    return client.readmit(node, reason)


def drain(
    client: Client, *, node: str, after_jobs: bool, now: bool, wait: bool, reason: str
) -> str:
    """Start nothing new there; optionally wait until the last task has left."""
    if after_jobs and now:
        raise ActFailed("--after-jobs and --now exclude each other", exits.USAGE)
    answer = client.drain(node, reason, now=now)
    over = f"{node} is drained"
    if not wait or answer == over:
        return answer
    put_error(answer)
    client.wait_drained(node)
    return over


def undrain(client: Client, *, node: str) -> str:
    """Undo `drain`: let tasks start there again."""
    return client.undrain(node)


def cordon(client: Client, *, gpu: str, reason: str) -> str:
    """Mark a GPU unschedulable; work on it continues."""
    return client.cordon(*_node_and_gpu(gpu), reason)


def uncordon(client: Client, *, gpu: str) -> str:
    """Undo `cordon`."""
    return client.uncordon(*_node_and_gpu(gpu))


def _node_and_gpu(text: str) -> tuple[str, str]:
    node, _, gpu = text.partition(":")
    if not node or not gpu:
        raise ActFailed(
            f"{text!r} names no GPU; write NODE:INDEX or NODE:UUID, as n3:0", exits.USAGE
        )
    return node, gpu
