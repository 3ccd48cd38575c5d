"""One reservation as text: by whom, its nodes, the jobs in it and those still there."""

from wattline_protocol.text.wording import listed
from wattline_protocol.wire.reservations import ReservationView

SHOWN_BELOW = 40
"""Jobs and nodes that are named."""


def reservation_text(one: ReservationView) -> str:
    """For the place below the list."""
    why = f": {one.why}" if one.why else ""
    return "\n".join(
        (
            f"by {one.requester}{why}",
            f"nodes: {listed(one.nodes, SHOWN_BELOW)}",
            f"jobs in it: {listed(one.jobs, SHOWN_BELOW) or 'none'}",
            f"jobs of other users still running there: {listed(one.others, SHOWN_BELOW) or 'none'}",
        )
    )
