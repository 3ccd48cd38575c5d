"""The durable form of a route that a user declared; one of the site file is not on record."""

from typing import ClassVar

import msgspec

from wattline_protocol.ids import UnixTime, UserName
from wattline_protocol.routing.model import PublicRoute


class RouteRecord(msgspec.Struct, frozen=True):
    """A declared route."""

    key: ClassVar[tuple[str, ...]] = ("name",)
    name: str
    owner: UserName
    declared_unix_s: UnixTime
    route: PublicRoute
    is_by_operator: bool = False
    """It leads to its services whoever owns their names."""
    removed_unix_s: UnixTime | None = None
    removed_by: str = ""
