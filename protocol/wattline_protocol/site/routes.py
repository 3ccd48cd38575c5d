"""The tables `[[route]]` of a site file."""

from typing import Any

from wattline_protocol.routing.file import read_route, route_table
from wattline_protocol.routing.model import SiteRoute
from wattline_protocol.site.accounts import user_names
from wattline_protocol.site.model import Service
from wattline_protocol.text.toml_fields import Fields

MAX_SITE_ROUTES = 32
"""With 16 KiB each they fit into one message beside those that users declare."""


def routes(top: Fields, services: tuple[Service, ...]) -> tuple[SiteRoute, ...]:
    """All tables; reports names that occur twice, or are services, and routes to routes."""
    tables = top.tables("route")
    if len(tables) > MAX_SITE_ROUTES:
        top.blame(f"{len(tables)} routes, at most {MAX_SITE_ROUTES}", "route")
        tables = tables[:MAX_SITE_ROUTES]
    found = tuple(_route(fields) for fields in tables)
    names = [one.route.name for one in found]
    for at, (fields, name) in enumerate(zip(tables, names, strict=True)):
        if name and name in names[:at]:
            fields.blame(f"a route named {name} exists already", "name")
        if name in [one.name for one in services]:
            text = f"{name} is a service ([[service]]); a route has a name of its own"
            fields.blame(text, "name")
        for service in found[at].route.services:
            if service in names and service != name:
                fields.blame(f"{service} is a route, and a route leads to services", "name")
    return found


def _route(fields: Fields) -> SiteRoute:
    found = SiteRoute(read_route(fields), fields.take("users", user_names, ()))
    fields.end()
    return found


def site_route_table(one: SiteRoute) -> dict[str, Any]:
    """The table, for `routes`."""
    return route_table(one.route) | ({"users": list(one.users)} if one.users else {})
