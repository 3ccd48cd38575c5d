"""Figures of one service, which command and terminal show beside the list of its workers."""

from typing import NamedTuple

from wattline_protocol.lists.kinds import NOT_KNOWN
from wattline_protocol.lists.service_table import MAX_BURN_RATE, rollout
from wattline_protocol.text.wording import digits, elapsed, joules, many, usd, watts
from wattline_protocol.views.service_views import EnergyView, ReplicasView, ServiceView, SloView

NOT_MEASURED = "not measured"

FULL_H = 5.95
"""Known hours of six from which no gap is shown."""


class Figure(NamedTuple):
    """A label and its value."""

    label: str
    text: str
    is_alarm: bool = False


def figures(service: ServiceView) -> list[Figure]:
    """Its SLO, replicas, watts and energy, and what it waits for."""
    found = [] if service.slo is None else _of_slo(service.slo)
    if service.replicas.why or service.replicas.min < service.replicas.max:
        found.append(Figure("replicas", _replicas(service.replicas)))
    if service.watts is not None:
        w = service.watts
        texts = (f"{watts(w.now)} now", f"{watts(w.wanted)} wanted", f"{watts(w.floor)} floor")
        found.append(Figure("watts", ", ".join(texts)))
    if service.rollout:
        found.append(Figure("rollout", rollout(service)))
    if service.reason:
        found.append(Figure("reason", service.reason))
    return found + _of_energy(service.energy)


def _replicas(replicas: ReplicasView) -> str:
    """Bounds, number and its reason: `2 to 8, now 3: load 412/s needs …`."""
    bounds = f"{replicas.min} to {replicas.max}, now {replicas.want}"
    if replicas.min == replicas.max == replicas.want:
        bounds = f"{replicas.want}"
    return f"{bounds}: {replicas.why}" if replicas.why else bounds


def _of_slo(slo: SloView) -> list[Figure]:
    """What is requested, what was measured in the last hour, and the error budget."""
    asked = f"p95 {_time(slo.p95_ms)}, errors {_percent(slo.errors)}"
    measured = f"p95 {_time(slo.measured_p95_ms)}, errors {_percent(slo.measured_errors)}"
    return [Figure("SLO", f"{asked}; last hour: {measured}"), _budget(slo)]


def _budget(slo: SloView) -> Figure:
    """Burn rates; 1 = it lasts as long as it is for."""
    rates = [("1 h", slo.burn_1h), ("6 h", slo.burn_6h)]
    known = [f"{digits(burn)} × in {span}" for span, burn in rates if burn is not None]
    if not known:
        return Figure("error budget", "not known: no load of it is on record")
    gaps = f" ({digits(slo.known_h)} h of 6 h known)" if slo.known_h < FULL_H else ""
    is_over = any(burn is not None and burn > MAX_BURN_RATE for _, burn in rates)
    return Figure("error budget", f"burns {', '.join(known)}{gaps}", is_over)


def _of_energy(energy: EnergyView | None) -> list[Figure]:
    """What 1,000 requests and tokens take."""
    if energy is None:
        return [Figure("energy", NOT_MEASURED)]
    all_j = energy.per_1000_requests_with_idle_j
    with_idle = f", {joules(all_j)} with idle" if all_j is not None else ""
    over = f"{many(energy.outputs, 'request')} in {elapsed(energy.seconds)}"
    found = [
        Figure("1,000 requests", f"{_joules(energy.per_1000_requests_j)}{with_idle} ({over})"),
        Figure("1,000 tokens", _joules(energy.per_1000_tokens_j)),
    ]
    if energy.per_1000_requests_usd is not None:
        cost = usd(energy.per_1000_requests_usd)
        found.append(Figure("energy cost", f"{cost} for 1,000 requests"))
    return found


def _joules(value_j: float | None) -> str:
    return NOT_KNOWN if value_j is None else joules(value_j)


def _time(ms: float | None) -> str:
    return NOT_KNOWN if ms is None else f"{digits(ms)} ms"


def _percent(share: float | None) -> str:
    return NOT_KNOWN if share is None else f"{digits(100.0 * share)} %"
