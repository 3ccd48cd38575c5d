"""Secrets, by name."""

from collections.abc import Sequence

from wattline.data.secrets import SecretChange
from wattline.show.tables import Column, Listing
from wattline_protocol.data.secrets import SecretView
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


def listing(rows: Sequence[SecretView]) -> Listing:
    """One line an entry, by user."""
    return Listing(
        columns=(
            Column("USER", [r.user for r in rows]),
            Column("ENTRY", [r.entry for r in rows]),
            Column("NODES", [f"{r.nodes} of {r.of_nodes}" for r in rows], is_right=True),
        ),
        empty="No secrets.",
    )
