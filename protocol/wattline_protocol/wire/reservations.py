"""Reservations of nodes: requests and view."""

from typing import Literal

import msgspec

from wattline_protocol.ids import JobId, NodeId, UnixTime
from wattline_protocol.wire.bounds import Count, Line, Many, Name, Seconds, Table


def format_grantees(accounts: tuple[str, ...], users: tuple[str, ...]) -> str:
    """`account vision, user ada`; `maintenance` where it is for neither."""
    named = [*(f"account {name}" for name in accounts), *(f"user {name}" for name in users)]
    return ", ".join(named) or "maintenance"


class Reserve(msgspec.Struct, frozen=True, tag_field="t", tag="reserve"):
    """Reserve nodes for a time range for accounts and users, or with neither for maintenance.

    Of the nodes with one of these names, all of the labels and a GPU of one of these models: all of
    them, or `count`, or as many as have `gpus`: those that become free soonest.
    """

    name: Name[str]
    end: Name[str] = ""
    """Moments as in `moments`, in the time zone of the site; or `for_s` instead."""
    start: Name[str] = ""
    """Empty = now."""
    for_s: Seconds = 0.0
    nodes: Many[Name[str]] = ()
    """Names and patterns with `*`, `?` and `[abc]`; none = every name."""
    labels: Table[Name[str], Name[str]] = {}
    gpu_type: Many[Name[str]] = ()
    count: Count[int] = 0
    gpus: Count[int] = 0
    accounts: Many[Name[str]] = ()
    """Includes accounts below them."""
    users: Many[Name[str]] = ()
    is_maintenance: bool = False
    """Required in place of accounts and users, so that they are not omitted by mistake."""
    reason: Line = ""


class Unreserve(msgspec.Struct, frozen=True, tag_field="t", tag="unreserve"):
    """Cancel a reservation, whether it has begun or not."""

    name: Name[str]
    reason: Line = ""


class ListReservations(msgspec.Struct, frozen=True, tag_field="t", tag="list_reservations"):
    """Reservations that are not over, by their beginning."""


class ReservationView(msgspec.Struct, frozen=True):
    """Nodes reserved by an operator for a time range."""

    name: str
    state: Literal["planned", "active"]
    start_unix_s: UnixTime
    end_unix_s: UnixTime
    start: str
    """The same two in the time zone of the site."""
    end: str
    accounts: tuple[str, ...]
    users: tuple[str, ...]
    """For any of these; without accounts and users: maintenance."""
    nodes: tuple[NodeId, ...]
    gpus: int
    """On its nodes, as far as they are known."""
    gpus_free: int
    """Those of them without an allocation; a partly allocated one counts by its free share."""
    jobs: tuple[JobId, ...]
    """Jobs that run in it."""
    others: tuple[JobId, ...]
    """Jobs on its nodes that run outside it: they are not stopped."""
    requester: str = msgspec.field(name="who")
    why: str

    @property
    def grantees(self) -> str:
        """For display: its accounts and users."""
        return format_grantees(self.accounts, self.users)


class Reservations(msgspec.Struct, frozen=True, tag_field="t", tag="reservations"):
    reservations: tuple[ReservationView, ...]
