"""Services as a listing, and one with its workers."""

import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from wattline.lists.layout import listing
from wattline.lists.list_of import ListOf
from wattline.lists.request import ListOptions, understood
from wattline.show.serving import routes
from wattline.show.styles import alarm, state
from wattline.show.tables import Cell, facts
from wattline_protocol.lists.service_figures import figures
from wattline_protocol.lists.service_table import Named, in_flight, service_table
from wattline_protocol.lists.worker_table import worker_table
from wattline_protocol.views.service_views import RouteView, ServiceView, WorkerView

LIST = ListOf[Sequence[Named], Named](service_table)
WORKERS = ListOf[Sequence[WorkerView], WorkerView](
    worker_table, applies=lambda given: given["what"] == "workers"
)


def shown(found: ServiceView | RouteView | bytes | str) -> RenderableType | bytes:
    """A service, a route, a line with bodies, or what was done."""
    match found:
        case ServiceView():
            return detail(found)
        case RouteView():
            return routes.detail(found)
        case _:
            return found


def detail(service: ServiceView) -> RenderableType:
    """Everything about one service."""
    pairs: list[tuple[str, Cell]] = [
        ("service", service.name),
        ("owner", service.owner),
        ("revision", f"{service.revision}"),
        ("state", state(service.state)),
        ("ready", f"{service.replicas.ready} of {service.replicas.want}"),
        ("in flight", f"{in_flight(service)}"),
    ]
    is_measured = any(worker.joules is not None for worker in service.workers)
    options = ListOptions(columns="+energy" if is_measured else None)
    workers = listing(understood(WORKERS, options, time.time()), service.workers)
    pairs += [
        (one.label, alarm(one.text) if one.is_alarm else one.text) for one in figures(service)
    ]
    return Group(facts(pairs), Text(""), workers)
