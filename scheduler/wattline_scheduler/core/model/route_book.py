"""Routes in force: those of the site file, and those that users have declared; with their counts.

The names of routes and of services are one set: `ServiceNames` knows the users of each.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from wattline_protocol.routing.model import PublicRoute, SiteRoute
from wattline_protocol.wire.rollouts import RouteTraffic
from wattline_scheduler.core.model.jobs.service_names import ServiceNames
from wattline_scheduler.route_record import RouteRecord

NO_SUCH = "no service: "
"""Begins the name of a service that a route may not lead to; no service has such a name."""


class Known(NamedTuple):
    """A route, and whose it is."""

    route: PublicRoute
    owner: str
    """Empty: it is of the site file."""
    leads_anywhere: bool
    """Whoever owns the names of its services."""


@dataclass(slots=True)
class RouteBook:
    """All routes by name."""

    names: ServiceNames
    of_site: dict[str, SiteRoute] = field(default_factory=dict)
    declared: dict[str, RouteRecord] = field(default_factory=dict)
    """Those that are not removed, also where their name belongs to others now."""
    counts: dict[tuple[str, int], RouteTraffic] = field(default_factory=dict)
    """By route and rule, since the run began or the route was declared."""

    def restore(self, of_site: Iterable[SiteRoute], declared: Iterable[RouteRecord]) -> None:
        """Takes the routes of the site file, then those on record."""
        for one in of_site:
            self.of_site[one.route.name] = one
            self.names.add_route(one.route.name, one.users)
        for record in declared:
            self.declared[record.name] = record
            if self.names.may_use(record.owner, record.name):
                self.names.add_route(record.name, self._users(record))

    def declare(self, record: RouteRecord) -> None:
        """Adds a route, or replaces the one of the same name."""
        self.declared[record.name] = record
        self.names.add_route(record.name, self._users(record))
        self._forget_counts(record.name)

    def remove(self, name: str) -> None:
        """Removes a declared route."""
        del self.declared[name]
        if name not in self.of_site:
            self.names.remove_route(name)
        self._forget_counts(name)

    def find(self, name: str) -> Known | None:
        """The route of a name, if it is in force."""
        if (one := self.of_site.get(name)) is not None:
            return Known(one.route, "", leads_anywhere=True)
        record = self.declared.get(name)
        if record is None or not self.names.may_use(record.owner, name):
            return None
        return Known(record.route, record.owner, record.is_by_operator)

    def in_force(self) -> Iterator[tuple[str, Known]]:
        """All routes that gateways know, by name."""
        for name in sorted({*self.of_site, *self.declared}):
            if (known := self.find(name)) is not None:
                yield name, known

    def barred(self, known: Known, service: str) -> str:
        """Why a route may not lead to a service that exists; empty = it may."""
        if service in self.names.routes:
            return f"{service} is a route, and a route leads to services"
        if known.leads_anywhere or self.names.may_use(known.owner, service):
            return ""
        return f"{service} belongs to another user"

    def count(self, one: RouteTraffic) -> None:
        """Adds what a gateway reports of a rule; of routes and rules that there are."""
        known = self.find(one.route)
        if known is None or known.route.target_of(one.rule) is None:
            return
        before = self.counts.get((one.route, one.rule), RouteTraffic(one.route, one.rule))
        self.counts[one.route, one.rule] = before.plus(one)

    def _users(self, record: RouteRecord) -> tuple[str, ...]:
        return self.names.listed.get(record.name, (record.owner,))

    def _forget_counts(self, name: str) -> None:
        for key in [key for key in self.counts if key[0] == name]:
            del self.counts[key]
