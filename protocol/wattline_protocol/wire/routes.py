"""Routes for gateways: workers of services, shares of revisions, settings, public routes, and API
keys of clients."""

import msgspec

from wattline_protocol.ids import TaskRef
from wattline_protocol.routing.model import PublicRoute
from wattline_protocol.wire.api_keys import ApiKeyGrant
from wattline_protocol.wire.rollouts import RouteSplit
from wattline_protocol.wire.service_settings import ServiceSettings

ROUTES_REPEAT_S = 10.0
"""Routes that have not changed are sent again: a gateway thus knows how old its API keys are."""


class WorkerRoute(msgspec.Struct, frozen=True):
    """A running worker of a service and the key it will prove."""

    ref: TaskRef
    public_key: str


class Routes(msgspec.Struct, frozen=True, tag_field="t", tag="routes"):
    services: dict[str, tuple[WorkerRoute, ...]]
    splits: dict[str, RouteSplit] = {}
    """By service, while a revision of it is on trial."""
    keys: tuple[ApiKeyGrant, ...] = ()
    """API keys of all clients."""
    settings: dict[str, ServiceSettings] = {}
    """Of services that have any."""
    owners: dict[str, str] = {}
    """Users of services, and of routes."""
    public: dict[str, PublicRoute] = {}
    """Public names over services."""
