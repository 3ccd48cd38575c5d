"""Acts of a client on routes: public names over services."""

from collections.abc import Iterable

from wattline.client.asking import RequestClient
from wattline_protocol.routing.model import PublicRoute
from wattline_protocol.routing.requests import DeclareRoutes, RemoveRoute
from wattline_protocol.views.capacity_views import CapacityView, GetCapacity
from wattline_protocol.views.service_views import (
    ListServices,
    RouteView,
    Services,
    ServiceView,
)


class RouteActs(RequestClient):
    """Declares, reads and removes routes; `wattline_protocol.routing.file` reads them from text."""

    def declare_routes(self, routes: Iterable[PublicRoute]) -> str:
        """Declare routes, all or none; they are on disk when this returns."""
        return self.act(DeclareRoutes(tuple(routes)))

    def remove_route(self, name: str) -> str:
        """End a route, within a second at each gateway that the scheduler reaches."""
        return self.act(RemoveRoute(name))

    def routes(self) -> tuple[RouteView, ...]:
        """All routes, without their rules."""
        return self.get(ListServices(), Services).routes

    def capacity(self, request: GetCapacity) -> CapacityView:
        """What a service will take, from the load that it had."""
        return self.get(request, CapacityView)

    def service_or_route(self, name: str) -> ServiceView | RouteView:
        """One open service with its workers, or one route with its rules."""
        found = self.get(ListServices(name), Services)
        return found.routes[0] if found.routes else found.services[0]

    def services_and_routes(self) -> tuple[ServiceView | RouteView, ...]:
        """Open services with their workers, then routes."""
        found = self.get(ListServices(), Services)
        return (*found.services, *found.routes)
