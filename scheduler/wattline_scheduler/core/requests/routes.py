"""Declares and removes routes."""

from collections.abc import Iterable

import msgspec

from wattline_protocol.ids import Now
from wattline_protocol.routing.file import route_problems
from wattline_protocol.routing.model import PublicRoute
from wattline_protocol.routing.requests import MAX_ROUTES, DeclareRoutes, RemoveRoute
from wattline_protocol.text.quantities import format_size
from wattline_protocol.text.wording import counted, listed
from wattline_protocol.wire.client_messages import Answer, Denied, Done
from wattline_scheduler.core.model.events import ClientRequest
from wattline_scheduler.core.model.not_found import not_there, not_yet
from wattline_scheduler.core.model.route_book import Known
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.route_record import RouteRecord

MAX_OF_USER = 64
MAX_OF_SITE = 1_000
MAX_BYTES_OF_USER = 128 * 1024
MAX_BYTES_OF_SITE = 512 * 1024
"""Every gateway gets all of them in one message."""
MAX_NAMED = 10

_encode = msgspec.msgpack.Encoder().encode


def declare(state: State, event: ClientRequest, request: DeclareRoutes, now: Now) -> Answer:
    """Declares routes, all or none: recorded before it is acknowledged."""
    asker, book = Asker(event.user, event.role), state.routes
    denied = (
        _malformed(request) or _taken(state, asker, request) or _too_many(state, asker, request)
    )
    if denied is not None:
        return denied
    for route in request.routes:
        known = book.declared.get(route.name)
        if known is not None and (known.route, known.owner) == (route, event.user):
            continue
        record = RouteRecord(route.name, event.user, now.unix_s, route, asker.is_operator)
        book.declare(record)
        state.journal.save(record)
        text = f"route {route.name} to {listed(route.services, MAX_NAMED)}"
        state.journal.act("route_declared", text, now, actor=event.user, owner=event.user)
    return Done("; ".join(_text(state, route) for route in request.routes))


def remove(state: State, event: ClientRequest, request: RemoveRoute, now: Now) -> Answer:
    """Removes a route: its own or, by an operator, any."""
    asker, book = Asker(event.user, event.role), state.routes
    record = book.declared.get(request.name)
    if record is None and request.name in book.of_site:
        text = f"route {request.name} is of the site file: remove it there"
        return Denied("conflict", text)
    if record is None:
        return not_there("route", request.name, [*book.declared])
    if not asker.may_act_for(record.owner):
        text = f"route {request.name} belongs to {record.owner}; you are {event.user}"
        return Denied("not_allowed", text)
    book.remove(request.name)
    state.journal.save(
        msgspec.structs.replace(record, removed_unix_s=now.unix_s, removed_by=event.user)
    )
    text = f"route {request.name} is removed"
    state.journal.act("route_removed", text, now, actor=event.user, owner=record.owner)
    return Done(text)


def _text(state: State, route: PublicRoute) -> str:
    """The declared route, and its services that do not exist yet."""
    services = state.work.services
    missing = [name for name in route.services if services.holder(name) is None]
    text = f"route {route.name} leads to {listed(route.services, MAX_NAMED)}"
    if not missing:
        return text
    return f"{text} ({not_yet(missing)}: answered 503 until then)"


def _malformed(request: DeclareRoutes) -> Denied | None:
    if not 1 <= len(request.routes) <= MAX_ROUTES:
        given = counted(len(request.routes), "route")
        return Denied("bad_request", f"{given}: 1 to {MAX_ROUTES} are declared at once")
    if len({route.name for route in request.routes}) < len(request.routes):
        return Denied("bad_request", "two of the routes have the same name")
    for route in request.routes:
        if problems := route_problems(route):
            return Denied("bad_request", f"route {route.name}: {'; '.join(problems)}"[:1000])
    return None


def _taken(state: State, asker: Asker, request: DeclareRoutes) -> Denied | None:
    """Denies names of others, and services that the user may not use."""
    names, book = state.work.services, state.routes
    declared = {route.name for route in request.routes}
    for route in request.routes:
        if route.name in book.of_site:
            text = f"route {route.name} is of the site file; choose another name"
            return Denied("conflict", text)
        if (first := names.holder(route.name)) is not None:
            text = f"{route.name} is a service of {first.record.owner} (job {first.id})"
            return Denied("conflict", f"{text}; a route has a name of its own")
        if not names.may_use(asker.user, route.name):
            users = listed(names.users_of(route.name), MAX_NAMED)
            text = f"the name {route.name} is for {users}; you are {asker.user}"
            return Denied("not_allowed", f"{text}; choose another name")
        known = Known(route, asker.user, leads_anywhere=asker.is_operator)
        for service in route.services:
            why = book.barred(known, service)
            if service in declared:
                why = f"{service} is a route, and a route leads to services"
            if why:
                return Denied("not_allowed", f"route {route.name}: {why}")
    return None


def _too_many(state: State, asker: Asker, request: DeclareRoutes) -> Denied | None:
    declared = state.routes.declared
    new = {route.name: route for route in request.routes}
    others = [record for record in declared.values() if record.name not in new]
    own = [record for record in others if record.owner == asker.user]
    for routes, whose, most, most_bytes in (
        (own, asker.user, MAX_OF_USER, MAX_BYTES_OF_USER),
        (others, "the site", MAX_OF_SITE, MAX_BYTES_OF_SITE),
    ):
        total = len(routes) + len(new)
        size = _bytes(record.route for record in routes) + _bytes(new.values())
        if total > most or size > most_bytes:
            limit = f"{most} of {format_size(most_bytes)} in all"
            text = f"{whose} would have {counted(total, 'route')} of {size} bytes, at most {limit}"
            return Denied("busy", f"{text}; remove some")
    return None


def _bytes(routes: Iterable[PublicRoute]) -> int:
    return sum(len(_encode(route)) for route in routes)
