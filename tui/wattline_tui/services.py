"""Services as rows of text: replicas, load and SLO, watts, joules, problems; and all about one."""

from collections.abc import Sequence

from rich.text import Text

from wattline.show.serving.energy import joules
from wattline.show.serving.services import figures, in_flight, note
from wattline_protocol.text.wording import digits
from wattline_protocol.views.service_views import ServiceView, SloView, WorkerView
from wattline_protocol.wire.problems import ProblemView
from wattline_tui.units import watts
from wattline_tui.widgets.tables import Cell, Row

COLUMNS = (
    "!",
    "service",
    "ready",
    "range",
    "req/s",
    "p95 / SLO",
    "burn 1h 6h",
    "watts / wanted",
    "J/1,000",
    "revision",
    "problem",
)
WORKER_COLUMNS = ("worker", "node", "state", "in flight", "energy", "reason")
UNKNOWN = "–"
BURNS = 1.0
"""A higher burn rate uses up the error budget before its time."""


def service_rows(services: Sequence[ServiceView], problems: Sequence[ProblemView]) -> list[Row]:
    """Rows by name."""
    return [_row(one, problems_of(one, problems)) for one in services]


def problems_of(service: ServiceView, problems: Sequence[ProblemView]) -> list[str]:
    """Open problems of its revisions, and why it does not serve in full."""
    revisions = (service.revision, service.next_revision)
    known = [one.evidence for one in problems if one.job is not None and one.job in revisions]
    return [*known, *filter(None, [note(service)])]


def _row(one: ServiceView, problems: Sequence[str]) -> Row:
    replicas, energy, draw = one.replicas, one.energy, one.watts
    range_ = f"{replicas.min}" if replicas.min == replicas.max else f"{replicas.min}-{replicas.max}"
    per_1000_j = None if energy is None else energy.per_1000_requests_j
    return one.name, (
        Text("!", "bold red") if problems else "",
        one.name,
        f"{replicas.ready}/{replicas.want}",
        range_,
        _number(one.requests_per_s),
        UNKNOWN if one.slo is None else f"{_ms(one.slo.measured_p95_ms)} / {_ms(one.slo.p95_ms)}",
        UNKNOWN if one.slo is None else _burn(one.slo),
        UNKNOWN if draw is None else f"{watts(draw.now)} / {watts(draw.wanted)}",
        UNKNOWN if per_1000_j is None else joules(per_1000_j),
        f"{one.revision}",
        problems[0] if problems else "",
    )


def _burn(slo: SloView) -> Cell:
    text = f"{_number(slo.burn_1h)} {_number(slo.burn_6h)}"
    is_over = any(burn is not None and burn > BURNS for burn in (slo.burn_1h, slo.burn_6h))
    return Text(text, "bold red") if is_over else text


def _ms(value: float | None) -> str:
    return UNKNOWN if value is None else f"{digits(value)} ms"


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else digits(value)


def details_of(service: ServiceView, problems: Sequence[ProblemView]) -> str:
    """What `wattline service NAME` shows, but its workers; problems first."""
    flying = f"{in_flight(service)} in flight"
    head = f"{service.state} · owner {service.owner} · revision {service.revision} · {flying}"
    pairs = [(label, f"{value}") for label, value in figures(service)]
    wide = max(len(label) for label, _ in pairs)
    lines = [f"{label:<{wide}}  {value}" for label, value in pairs]
    return "\n".join([head, *(f"! {text}" for text in problems_of(service, problems)), *lines])


def worker_rows(workers: Sequence[WorkerView]) -> list[Row]:
    """Rows by task."""
    return [_worker(one) for one in workers]


def _worker(one: WorkerView) -> Row:
    energy = UNKNOWN if one.joules is None else joules(one.joules)
    return one.task, (one.task, one.node, one.state, f"{one.in_flight}", energy, one.reason)
