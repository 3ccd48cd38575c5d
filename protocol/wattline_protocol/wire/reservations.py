"""Reservations of nodes: how they are asked for, and what is shown of them."""

from typing import Literal

import msgspec

from wattline_protocol.ids import JobId, NodeId, UnixTime
from wattline_protocol.wire.bounds import Count, Line, Many, Name, Seconds, Table


def whom_said(accounts: tuple[str, ...], users: tuple[str, ...]) -> str:
    """`account vision, user ada`; `maintenance` where it is for nobody."""
    named = [*(f"account {name}" for name in accounts), *(f"user {name}" for name in users)]
    return ", ".join(named) or "maintenance"


class Reserve(msgspec.Struct, frozen=True, tag_field="t", tag="reserve"):
    """Keep nodes from a time to a time for accounts and users, or with neither for maintenance.

    Of the nodes with one of these names, all of the labels and a GPU of one of these models: all of
    them, or `count`, or as many as have `gpus`: those that are free soonest.
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
    """Those below them too."""
    users: Many[Name[str]] = ()
    is_maintenance: bool = False
    """Said instead of whom it is for, so that nobody is forgotten."""
    reason: Line = ""


class Unreserve(msgspec.Struct, frozen=True, tag_field="t", tag="unreserve"):
    """Take a reservation back, whether it has begun or not."""

    name: Name[str]
    reason: Line = ""


class ListReservations(msgspec.Struct, frozen=True, tag_field="t", tag="list_reservations"):
    """Those that are not over, by their beginning."""


class ReservationView(msgspec.Struct, frozen=True):
    """Nodes that an operator keeps from a time to a time."""

    name: str
    state: Literal["planned", "active"]
    start_unix_s: UnixTime
    end_unix_s: UnixTime
    start: str
    """The same two in the time zone of the site."""
    end: str
    accounts: tuple[str, ...]
    users: tuple[str, ...]
    """It is for any of these; for nobody: maintenance."""
    nodes: tuple[NodeId, ...]
    gpus: int
    """On its nodes, as far as they are known."""
    gpus_free: int
    """Of those, what no job holds now; a part of one counts as its part is free."""
    jobs: tuple[JobId, ...]
    """That run in it."""
    others: tuple[JobId, ...]
    """That run on its nodes and are not of it: nothing stops them."""
    who: str
    why: str

    @property
    def whom(self) -> str:
        """For people: whom it is for."""
        return whom_said(self.accounts, self.users)


class Reservations(msgspec.Struct, frozen=True, tag_field="t", tag="reservations"):
    reservations: tuple[ReservationView, ...]
