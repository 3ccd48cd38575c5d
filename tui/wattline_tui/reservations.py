"""Reservations as rows of text: for whose jobs, time range, free GPUs, running jobs."""

from collections.abc import Sequence

from wattline_protocol.text.wording import listed
from wattline_protocol.wire.reservations import ReservationView
from wattline_tui.limits import when
from wattline_tui.widgets.tables import Row

COLUMNS = ("reservation", "state", "from", "until", "GPUs free", "for", "jobs", "still there")

SHOWN, SHOWN_BELOW = 3, 40
"""Jobs in one cell; jobs and nodes below the table, for the selected reservation."""


def reservation_rows(reservations: Sequence[ReservationView], now_unix_s: float) -> list[Row]:
    """Rows by beginning."""
    return [_row(one, now_unix_s) for one in reservations]


def _row(one: ReservationView, now_unix_s: float) -> Row:
    return one.name, (
        one.name,
        one.state,
        when(one.start_unix_s, now_unix_s),
        when(one.end_unix_s, now_unix_s),
        f"{one.gpus_free} of {one.gpus}",
        one.grantees,
        listed(one.jobs, SHOWN) or "–",
        listed(one.others, SHOWN) or "–",
    )


def details_of(one: ReservationView) -> str:
    """Everything that does not fit into a row."""
    why = f": {one.why}" if one.why else ""
    return "\n".join(
        (
            f"by {one.requester}{why}",
            f"nodes: {listed(one.nodes, SHOWN_BELOW)}",
            f"jobs in it: {listed(one.jobs, SHOWN_BELOW) or 'none'}",
            f"jobs of other users still running there: {listed(one.others, SHOWN_BELOW) or 'none'}",
        )
    )
