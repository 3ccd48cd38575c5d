"""Secrets, by name."""

from collections.abc import Sequence

from wattline.show.tables import Column, Listing
from wattline_protocol.data.secrets import SecretView


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
