"""Services as a listing, and one with its workers."""

from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from wattline.lists.list_of import ListOf
from wattline.show.serving import energy, routes, slo
from wattline.show.styles import alarm, state
from wattline.show.tables import Cell, Column, Listing, facts
from wattline.show.units import NOT_KNOWN
from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column as ListColumn
from wattline_protocol.lists.kinds import Value
from wattline_protocol.lists.table import Table
from wattline_protocol.text.wording import digits, watts
from wattline_protocol.views.service_views import ReplicasView, RouteView, ServiceView, WorkerView

Named = ServiceView | RouteView


def table(_: float) -> Table[Named]:
    """The columns of services and of routes, of which most are of services alone."""
    own = ListColumn[Named]
    return Table(
        (
            own("service", kinds.TEXT, lambda one: one.name),
            own("user", kinds.TEXT, lambda one: one.owner or routes.OF_SITE, weight=3),
            own("revision", kinds.NUMBER, _of_service(lambda one: one.revision), weight=1),
            own("state", kinds.TEXT, _of_service(lambda one: one.state), weight=4, is_usual=False),
            own("ready", kinds.NUMBER, _of_service(lambda s: s.replicas.ready), text=_ready),
            own("wanted", kinds.NUMBER, _of_service(lambda s: s.replicas.want), is_usual=False),
            own("in-flight", kinds.NUMBER, _of_service(in_flight), weight=2),
            own("rate", kinds.AMOUNT, _of_service(lambda s: s.requests_per_s), is_usual=False),
            own("note", kinds.TEXT, _summary, grows=True),
        ),
        empty="No services.",
    )


LIST = ListOf[Sequence[Named], Named](table)


def _of_service(value: Callable[[ServiceView], Value]) -> Callable[[Named], Value]:
    return lambda one: value(one) if isinstance(one, ServiceView) else None


def _summary(one: Named) -> str:
    """Its rollout, or why it does not serve in full; of a route where it leads."""
    return note(one) if isinstance(one, ServiceView) else routes.summary(one)


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
    return Group(facts(pairs + figures(service)), Text(""), _workers(service.workers))


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
        pairs.append(("rollout", _rollout(service)))
    if service.reason:
        pairs.append(("reason", service.reason))
    return pairs + energy.rows(service.energy)


def _replicas(replicas: ReplicasView) -> str:
    """Bounds, number and its reason: `2 to 8, now 3: load 412/s needs …`."""
    bounds = f"{replicas.min} to {replicas.max}, now {replicas.want}"
    if replicas.min == replicas.max == replicas.want:
        bounds = f"{replicas.want}"
    return f"{bounds}: {replicas.why}" if replicas.why else bounds


def _workers(workers: Sequence[WorkerView]) -> Listing:
    return Listing(
        columns=(
            Column("TASK", [str(w.task) for w in workers]),
            Column("NODE", [w.node for w in workers], weight=1),
            Column("STATE", [_state(w) for w in workers]),
            Column("IN FLIGHT", [f"{w.in_flight}" for w in workers], is_right=True, weight=2),
            Column("BATCH", [_ms(w.batch_s) for w in workers], is_right=True, weight=3),
            *energy.column(workers),
            Column("REASON", [w.reason for w in workers], grows=True),
        ),
        empty="No workers.",
    )


def _ready(service: Named) -> str:
    if isinstance(service, RouteView):
        return NOT_KNOWN
    return f"{service.replicas.ready}/{service.replicas.want}"


def in_flight(service: ServiceView) -> int:
    """Requests at its workers."""
    return sum(worker.in_flight for worker in service.workers)


def note(service: ServiceView) -> str:
    """Its rollout, or why it does not serve in full; empty = it does."""
    failed = next((f"{w.task}: {w.reason}" for w in service.workers if w.reason), "")
    return _rollout(service) if service.rollout else failed or service.reason


def _rollout(service: ServiceView) -> str:
    return f"{service.rollout}, revision {service.next_revision} is to replace {service.revision}"


def _state(worker: WorkerView) -> Text:
    return alarm(worker.state) if worker.state in ("failed", "lost") else Text(worker.state)


def _ms(seconds: float) -> str:
    return f"{digits(seconds * 1000)} ms" if seconds else NOT_KNOWN
