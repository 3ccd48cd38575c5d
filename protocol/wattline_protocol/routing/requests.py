"""Requests about routes."""

from typing import Annotated

import msgspec

from wattline_protocol.routing.model import PublicRoute
from wattline_protocol.wire.bounds import Name

MAX_ROUTES = 8
"""Routes declared at once, as in one job file."""


class DeclareRoutes(msgspec.Struct, frozen=True, tag_field="t", tag="declare_routes"):
    """Declare routes, all or none; one of the same name is replaced. A repeat has no further
    effect."""

    routes: Annotated[tuple[PublicRoute, ...], msgspec.Meta(max_length=MAX_ROUTES)]


class RemoveRoute(msgspec.Struct, frozen=True, tag_field="t", tag="remove_route"):
    """End a route: requests to its name are refused."""

    name: Name[str]


RouteRequest = DeclareRoutes | RemoveRoute
