"""Services: columns of the list, all about one, and its workers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wattline.show.serving.energy import joules
from wattline.show.serving.services import figures, in_flight, note
from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.table import Table
from wattline_protocol.text.wording import digits
from wattline_protocol.views.service_views import (
    EnergyView,
    ServiceView,
    SloView,
    WattsView,
    WorkerView,
)
from wattline_protocol.wire.problems import ProblemView

UNKNOWN = "–"
BURNS = 1.0
"""A higher burn rate uses up the error budget before its time."""


@dataclass(frozen=True)
class ServiceRow:
    """A service with what is wrong with it."""

    service: ServiceView
    problems: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its key."""
        return self.service.name


def service_rows(
    services: Sequence[ServiceView], problems: Sequence[ProblemView]
) -> list[ServiceRow]:
    """Rows by name."""
    return [ServiceRow(one, tuple(problems_of(one, problems))) for one in services]


def problems_of(service: ServiceView, problems: Sequence[ProblemView]) -> list[str]:
    """Open problems of its revisions, and why it does not serve in full."""
    revisions = (service.revision, service.next_revision)
    known = [one.evidence for one in problems if one.job is not None and one.job in revisions]
    return [*known, *filter(None, [note(service)])]


def service_table(_: float) -> Table[ServiceRow]:
    """The columns of services: load, its objective, watts, joules and cost."""
    own = Column[ServiceRow]
    return Table(
        (
            own("service", kinds.TEXT, lambda row: row.name),
            own("ready", kinds.NUMBER, lambda row: row.service.replicas.ready, text=_ready),
            own("replicas", kinds.TEXT, lambda row: _range(row.service), weight=5),
            own("rate", kinds.AMOUNT, lambda row: row.service.requests_per_s, "REQ/S", weight=1),
            own("in-flight", kinds.NUMBER, lambda row: in_flight(row.service), weight=4),
            own("p95", kinds.AMOUNT, _slo(lambda slo: slo.measured_p95_ms), "P95 MS"),
            own("slo", kinds.AMOUNT, _slo(lambda slo: slo.p95_ms), "SLO MS", weight=1),
            own(
                "errors", kinds.SHARE, _slo(lambda slo: slo.measured_errors), text=_errors, weight=3
            ),
            own(
                "burn",
                kinds.AMOUNT,
                _slo(lambda s: s.burn_1h),
                "BURN 1H",
                weight=2,
                is_alarm=_burns,
            ),
            own("burn-6h", kinds.AMOUNT, _slo(lambda slo: slo.burn_6h), "6H", weight=6),
            own(
                "watts",
                kinds.POWER,
                _watts(lambda draw: draw.now),
                weight=2,
            ),
            own(
                "wanted",
                kinds.POWER,
                _watts(lambda draw: draw.wanted),
                weight=5,
            ),
            own(
                "joules",
                kinds.AMOUNT,
                _energy(lambda e: e.per_1000_requests_j),
                "J/1,000",
                _joules,
                3,
            ),
            own(
                "cost", kinds.COST, _energy(lambda e: e.per_1000_requests_usd), "$/1,000", weight=4
            ),
            own("revision", kinds.NUMBER, lambda row: row.service.revision, weight=6),
            own(
                "problem", kinds.TEXT, _problem, grows=True, is_alarm=lambda row: bool(row.problems)
            ),
        ),
        empty="No services.",
    )


def _ready(row: ServiceRow) -> str:
    return f"{row.service.replicas.ready}/{row.service.replicas.want}"


def _range(service: ServiceView) -> str:
    least, most = service.replicas.min, service.replicas.max
    return f"{least}" if least == most else f"{least}-{most}"


def _problem(row: ServiceRow) -> str:
    return row.problems[0] if row.problems else ""


def _slo(value: Callable[[SloView], float | None]) -> Callable[[ServiceRow], float | None]:
    return lambda row: None if row.service.slo is None else value(row.service.slo)


def _watts(value: Callable[[WattsView], float]) -> Callable[[ServiceRow], float | None]:
    return lambda row: None if row.service.watts is None else value(row.service.watts)


def _energy(value: Callable[[EnergyView], float | None]) -> Callable[[ServiceRow], float | None]:
    return lambda row: None if row.service.energy is None else value(row.service.energy)


def _errors(row: ServiceRow) -> str:
    """With digits enough for small shares."""
    slo = row.service.slo
    known = None if slo is None else slo.measured_errors
    return kinds.NOT_KNOWN if known is None else f"{digits(100 * known)} %"


def _joules(row: ServiceRow) -> str:
    return joules(None if row.service.energy is None else row.service.energy.per_1000_requests_j)


def _burns(row: ServiceRow) -> bool:
    slo = row.service.slo
    burns = () if slo is None else (slo.burn_1h, slo.burn_6h)
    return any(burn is not None and burn > BURNS for burn in burns)


def details_of(row: ServiceRow) -> str:
    """What `wattline service NAME` shows, but its workers; problems first."""
    service = row.service
    head = (
        f"{service.state} · owner {service.owner} · revision {service.revision}",
        f"{in_flight(service)} in flight",
    )
    pairs = [(label, f"{value}") for label, value in figures(service)]
    wide = max((len(label) for label, _ in pairs), default=0)
    lines = [f"{label:<{wide}}  {value}" for label, value in pairs]
    return "\n".join([" · ".join(head), *(f"! {text}" for text in row.problems), *lines])


def worker_table(_: float) -> Table[WorkerView]:
    """The columns of workers."""
    own = Column[WorkerView]
    return Table(
        (
            own("worker", kinds.TEXT, lambda one: one.task),
            own("node", kinds.TEXT, lambda one: one.node, weight=1),
            own("state", kinds.TEXT, lambda one: one.state),
            own("in-flight", kinds.NUMBER, lambda one: one.in_flight, weight=2),
            own(
                "energy",
                kinds.AMOUNT,
                lambda w: w.joules,
                text=lambda w: joules(w.joules),
                weight=3,
            ),
            own("reason", kinds.TEXT, lambda one: one.reason, grows=True),
        ),
        empty="No workers.",
    )
