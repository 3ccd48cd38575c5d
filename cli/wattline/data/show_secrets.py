"""Secrets, by name."""

from collections.abc import Sequence

from wattline.data.secrets import SecretChange
from wattline.lists.list_of import ListOf
from wattline_protocol.data.secrets import SecretView
from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.table import Table
from wattline_protocol.text.wording import counted, listed

MAX_NAMED = 5
"""Nodes named for one reason."""


def changed(change: SecretChange) -> str:
    """secret wandb of user ada: stored on 498 of 500 nodes; not on gpu-03, gpu-07: silent."""
    done, total = len(change.done), len(change.done) + len(change.failed)
    by_reason: dict[str, list[str]] = {}
    for one in change.failed:
        by_reason.setdefault(one.why, []).append(one.node)
    where = change.what.split()[-1]
    parts = (f"not {where} {listed(nodes, MAX_NAMED)}: {why}" for why, nodes in by_reason.items())
    text = f"secret {change.entry} of user {change.user}: {change.what} {done} of"
    return "; ".join((f"{text} {counted(total, 'node')}", *parts))


def table(_: float) -> Table[SecretView]:
    """The columns of secrets."""
    own = Column[SecretView]
    return Table(
        (
            own("user", kinds.TEXT, lambda one: one.user),
            own("entry", kinds.TEXT, lambda one: one.entry),
            own("nodes", kinds.NUMBER, lambda one: one.nodes, text=_nodes),
        ),
        empty="No secrets.",
    )


LIST = ListOf[Sequence[SecretView], SecretView](table)


def _nodes(one: SecretView) -> str:
    return f"{one.nodes} of {one.of_nodes}"
