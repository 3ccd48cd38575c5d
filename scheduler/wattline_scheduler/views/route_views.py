"""Routes: as gateways get them, and as users see them."""

from collections.abc import Iterator

import msgspec

from wattline_protocol.routing.model import PublicRoute, RouteTarget
from wattline_protocol.routing.words import conditions_in_words, target_in_words
from wattline_protocol.text.wording import listed
from wattline_protocol.views.service_views import RouteView, RuleView
from wattline_protocol.wire.bounds import encodable
from wattline_protocol.wire.rollouts import RouteTraffic
from wattline_scheduler.core.model.route_book import NO_SUCH, Known, RouteBook
from wattline_scheduler.core.model.state import State

MAX_NAMED = 10
MAX_NOTE_CHARS = 500


def public_routes(state: State) -> dict[str, PublicRoute]:
    """All routes in force. A service that a route may not lead to is named so that there is none of
    that name."""
    book = state.routes
    return {name: _without_barred(book, known) for name, known in book.in_force()}


def route_owners(state: State) -> dict[str, str]:
    """Users of declared routes."""
    return {name: known.owner for name, known in state.routes.in_force() if known.owner}


def route_view(state: State, name: str, *, with_rules: bool) -> RouteView | None:
    """A route, or one on record whose name belongs to others now."""
    book, record = state.routes, state.routes.declared.get(name)
    known = book.find(name)
    if known is not None:
        services = known.route.services[: None if with_rules else MAX_NAMED]
        rules = tuple(_rules(book, known)) if with_rules else ()
        return RouteView(name, known.owner, services, rules, _note(state, known))
    if record is None:
        return None
    users = listed(book.names.users_of(name), MAX_NAMED) or "operators"
    note = f"its name is for {users} (site file): it gets no requests"
    return RouteView(name, record.owner, record.route.services[:MAX_NAMED], (), note)


def _note(state: State, known: Known) -> str:
    services, problems = known.route.services, []
    for service in services:
        if why := state.routes.barred(known, service):
            problems.append(why)
        elif state.work.services.holder(service) is None:
            problems.append(f"service {service} does not exist")
    return "; ".join(problems)[:MAX_NOTE_CHARS]


def _rules(book: RouteBook, known: Known) -> Iterator[RuleView]:
    route = known.route
    for number, rule in enumerate(route.rules, 1):
        yield _rule(book, route, number, conditions_in_words(rule), rule.target)
    if route.default is not None:
        yield _rule(book, route, 0, "no rule matches" if route.rules else "all", route.default)


def _rule(
    book: RouteBook, route: PublicRoute, number: int, when: str, target: RouteTarget
) -> RuleView:
    found = book.counts.get((route.name, number), RouteTraffic(route.name, number))
    to = target_in_words(target)
    counts = found.requests, found.kept, found.escalated, found.failed
    return RuleView(number, when, to, *map(encodable, counts))


def _without_barred(book: RouteBook, known: Known) -> PublicRoute:
    barred = {service for service in known.route.services if book.barred(known, service)}
    if not barred:
        return known.route

    def lead(target: RouteTarget) -> RouteTarget:
        services = tuple(NO_SUCH + one if one in barred else one for one in target.services)
        return msgspec.structs.replace(target, services=services)

    route = known.route
    rules = tuple(msgspec.structs.replace(r, target=lead(r.target)) for r in route.rules)
    default = None if route.default is None else lead(route.default)
    return msgspec.structs.replace(route, rules=rules, default=default)
