"""Reservations that are not over."""

from collections.abc import Sequence

from wattline.show.tables import Column, Listing
from wattline_protocol.text.wording import listed
from wattline_protocol.wire.reservations import ReservationView


def listing(rows: Sequence[ReservationView]) -> Listing:
    """One line a reservation, by its beginning."""
    return Listing(
        columns=(
            Column("RESERVATION", [r.name for r in rows]),
            Column("STATE", [r.state for r in rows]),
            Column("FROM", [r.start for r in rows], weight=2),
            Column("UNTIL", [r.end for r in rows]),
            Column("GPUS FREE", [f"{r.gpus_free}/{r.gpus}" for r in rows], is_right=True),
            Column("FOR", [r.grantees for r in rows], weight=1),
            Column("JOBS", [listed(r.jobs, SHOWN) for r in rows], weight=3),
            Column("STILL THERE", [listed(r.others, SHOWN) for r in rows]),
            Column("BY", [r.requester for r in rows], weight=4),
            Column("NODES", [_nodes(r) for r in rows], grows=True),
        ),
        empty="No reservations.",
    )


SHOWN = 3
"""Jobs in one cell; --json has them all."""


def _nodes(row: ReservationView) -> str:
    why = f" ({row.why})" if row.why else ""
    return ",".join(row.nodes) + why
