"""Routes for gateways: workers of services, and how requests are shared out among revisions."""

import msgspec

from wattline_protocol.ids import TaskRef
from wattline_protocol.wire.rollouts import RouteSplit


class WorkerRoute(msgspec.Struct, frozen=True):
    """A running worker of a service and the key it will prove."""

    ref: TaskRef
    public_key: str


class Routes(msgspec.Struct, frozen=True, tag_field="t", tag="routes"):
    services: dict[str, tuple[WorkerRoute, ...]]
    splits: dict[str, RouteSplit] = {}
    """By service, while a revision of it is on trial."""
