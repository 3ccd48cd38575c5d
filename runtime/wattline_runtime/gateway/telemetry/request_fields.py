"""Fields of a request, for logs and spans: names only, and none of services that do not exist."""

from typing import Any

from starlette.types import Scope

from wattline_protocol.wire.routes import WorkerRoute
from wattline_runtime.gateway.answers.joules import ENERGY, UJ_PER_J
from wattline_runtime.gateway.client import ASKED, TOKENS, trace_of
from wattline_runtime.gateway.routing.router import ROUTED
from wattline_runtime.gateway.shell import GatewayShell
from wattline_runtime.gateway.state import ServiceState
from wattline_runtime.trace_context import trace_id_of


class RequestFields:
    """Reads them from requests that were answered."""

    def __init__(self, shell: GatewayShell) -> None:
        self._shell = shell
        self._revisions: dict[str, tuple[tuple[WorkerRoute, ...], int | None]] = {}

    def of(self, scope: Scope) -> dict[str, Any]:
        """Fields of a `LoggedRequest`."""
        key, name = scope.get(ASKED, (None, scope.get("path_params", {}).get("service", "")))
        found: dict[str, Any] = {"key": key, "tokens": scope.get(TOKENS, 0)}
        if ENERGY in scope:
            found["joules"] = scope[ENERGY] / UJ_PER_J
        trace = trace_of(scope)
        if trace is not None:
            found["trace_id"] = trace_id_of(trace.parent)
        if name in self._shell.public:
            found["route"] = name
            found["rule"], name = scope.get(ROUTED, (None, ""))
        service = self._shell.gateway.queue.services.get(name)
        if service is not None:
            found["service"], found["revision"] = name, self._revision(service)
            found["owner"] = self._shell.owners.get(name)
        return found

    def _revision(self, service: ServiceState) -> int | None:
        """The only one of a service; computed once for each change of its routes."""
        routes, known = self._revisions.get(service.name, ((), None))
        if routes is not service.routes:
            revisions = {int(route.ref.job) for route in service.routes}
            known = revisions.pop() if len(revisions) == 1 else None
            self._revisions[service.name] = service.routes, known
        return known
