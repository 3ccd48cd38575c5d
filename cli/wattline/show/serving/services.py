"""Services as a listing, and one with its workers."""

import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from wattline.lists.layout import listing
from wattline.lists.list_of import ListOf
from wattline.lists.request import ListOptions, understood
from wattline.show.serving import energy, routes, slo
from wattline.show.styles import state
from wattline.show.tables import Cell, facts
from wattline_protocol.lists.service_table import Named, in_flight, rollout, service_table
from wattline_protocol.lists.worker_table import worker_table
from wattline_protocol.text.wording import watts
from wattline_protocol.views.service_views import ReplicasView, RouteView, ServiceView, WorkerView

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
    return Group(facts(pairs + figures(service)), Text(""), workers)


def figures(service: ServiceView) -> list[tuple[str, Cell]]:
    """Labels and values of its SLO, replicas, watts and energy, and what it waits for."""
    pairs: list[tuple[str, Cell]] = []
    if service.slo is not None:
        pairs += slo.rows(service.slo)
    if service.replicas.why or service.replicas.min < service.replicas.max:
        pairs.append(("replicas", _replicas(service.replicas)))
    if service.watts is not None:
        w = service.watts
        texts = (f"{watts(w.now)} now", f"{watts(w.wanted)} wanted", f"{watts(w.floor)} floor")
        pairs.append(("watts", ", ".join(texts)))
    if service.rollout:
        pairs.append(("rollout", rollout(service)))
    if service.reason:
        pairs.append(("reason", service.reason))
    return pairs + energy.rows(service.energy)


def _replicas(replicas: ReplicasView) -> str:
    """Bounds, number and its reason: `2 to 8, now 3: load 412/s needs …`."""
    bounds = f"{replicas.min} to {replicas.max}, now {replicas.want}"
    if replicas.min == replicas.max == replicas.want:
        bounds = f"{replicas.want}"
    return f"{bounds}: {replicas.why}" if replicas.why else bounds
