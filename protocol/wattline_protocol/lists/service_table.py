"""The columns of services and of routes, of which most are of services alone."""

from collections.abc import Callable
from typing import get_args

from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.kinds import Value
from wattline_protocol.lists.table import Table
from wattline_protocol.text.wording import digits, joules, listed
from wattline_protocol.views.service_views import (
    EnergyView,
    RouteView,
    ServiceView,
    SloView,
    WattsView,
)
from wattline_protocol.views.site_views import JobState

Named = ServiceView | RouteView

OF_SITE = "site file"
"""In place of the owner of a route."""

MAX_NAMED = 3
"""Services behind a route that are named."""

MAX_BURN_RATE = 1.0
"""A higher one uses up the error budget before its period ends."""


def service_table(_: float) -> Table[Named]:
    """Replicas, load, SLO, watts, joules and cost."""
    own, states = Column[Named], kinds.choice(*get_args(JobState))
    return Table(
        (
            own("service", kinds.TEXT, lambda one: one.name),
            own("user", kinds.TEXT, lambda one: one.owner or OF_SITE, weight=1),
            own("revision", kinds.NUMBER, _of_service(lambda one: one.revision), weight=6),
            own("state", states, _of_service(lambda one: one.state), weight=7, is_usual=False),
            own("ready", kinds.NUMBER, _of_service(lambda s: s.replicas.ready), text=_ready),
            own(
                "replicas",
                kinds.NUMBER,
                _of_service(lambda one: one.replicas.want),
                text=_replicas,
                weight=5,
                is_usual=False,
            ),
            own("rate", kinds.AMOUNT, _of_service(lambda s: s.requests_per_s), "REQ/S", weight=1),
            own("in-flight", kinds.NUMBER, _of_service(in_flight), weight=4),
            *_slo_columns(),
            own("watts", kinds.POWER, _watts(lambda draw: draw.now), weight=2),
            own("wanted", kinds.POWER, _watts(lambda draw: draw.wanted), weight=5, is_usual=False),
            own(
                "joules",
                kinds.AMOUNT,
                _energy(lambda one: one.per_1000_requests_j),
                "J/1,000",
                _joules,
                weight=3,
                is_usual=False,
            ),
            own(
                "cost",
                kinds.COST,
                _energy(lambda one: one.per_1000_requests_usd),
                "COST/1,000",
                weight=4,
                is_usual=False,
            ),
            own("note", kinds.TEXT, note, grows=True, is_alarm=lambda one: bool(_fault(one))),
        ),
        empty="No services.",
    )


def _slo_columns() -> tuple[Column[Named], ...]:
    own = Column[Named]
    return (
        own("p95", kinds.AMOUNT, _slo(lambda slo: slo.measured_p95_ms), "P95 MS"),
        own("slo", kinds.AMOUNT, _slo(lambda slo: slo.p95_ms), "SLO MS", weight=1),
        own(
            "errors",
            kinds.SHARE,
            _slo(lambda slo: slo.measured_errors),
            text=_errors,
            weight=3,
            is_usual=False,
        ),
        own(
            "burn",
            kinds.AMOUNT,
            _slo(lambda slo: slo.burn_1h),
            "BURN 1H",
            weight=2,
            is_alarm=_burns,
        ),
        own("burn-6h", kinds.AMOUNT, _slo(lambda s: s.burn_6h), "6H", weight=6, is_usual=False),
    )


def _of_service(value: Callable[[ServiceView], Value]) -> Callable[[Named], Value]:
    return lambda one: value(one) if isinstance(one, ServiceView) else None


def _slo(value: Callable[[SloView], float | None]) -> Callable[[Named], Value]:
    return _of_service(lambda one: None if one.slo is None else value(one.slo))


def _watts(value: Callable[[WattsView], float]) -> Callable[[Named], Value]:
    return _of_service(lambda one: None if one.watts is None else value(one.watts))


def _energy(value: Callable[[EnergyView], float | None]) -> Callable[[Named], Value]:
    return _of_service(lambda one: None if one.energy is None else value(one.energy))


def _ready(one: Named) -> str:
    if isinstance(one, RouteView):
        return kinds.NOT_KNOWN
    return f"{one.replicas.ready}/{one.replicas.want}"


def _replicas(one: Named) -> str:
    """`2`; `3 of 2-8` where their number varies."""
    if isinstance(one, RouteView):
        return kinds.NOT_KNOWN
    some = one.replicas
    return f"{some.want}" if some.min == some.max else f"{some.want} of {some.min}-{some.max}"


def in_flight(service: ServiceView) -> int:
    """Requests at its workers."""
    return sum(worker.in_flight for worker in service.workers)


def _errors(one: Named) -> str:
    """With digits enough for small shares."""
    slo = one.slo if isinstance(one, ServiceView) else None
    known = None if slo is None else slo.measured_errors
    return kinds.NOT_KNOWN if known is None else f"{digits(100 * known)} %"


def _joules(one: Named) -> str:
    energy = one.energy if isinstance(one, ServiceView) else None
    known = None if energy is None else energy.per_1000_requests_j
    return kinds.NOT_KNOWN if known is None else joules(known)


def _burns(one: Named) -> bool:
    slo = one.slo if isinstance(one, ServiceView) else None
    burns = () if slo is None else (slo.burn_1h, slo.burn_6h)
    return any(burn is not None and burn > MAX_BURN_RATE for burn in burns)


def note(one: Named) -> str:
    """Its rollout, or why it does not serve in full; of a route what is wrong with it, or where it
    leads."""
    if isinstance(one, RouteView):
        return one.note or f"route to {listed(one.services, MAX_NAMED)}"
    return rollout(one) if one.rollout else _fault(one) or one.reason


def rollout(service: ServiceView) -> str:
    """`checking, revision 9 is to replace 7`."""
    return f"{service.rollout}, revision {service.next_revision} is to replace {service.revision}"


def _fault(one: Named) -> str:
    """The first failed replica with its reason; empty = none has failed."""
    if isinstance(one, RouteView):
        return one.note
    return next((f"{worker.task}: {worker.reason}" for worker in one.workers if worker.reason), "")
