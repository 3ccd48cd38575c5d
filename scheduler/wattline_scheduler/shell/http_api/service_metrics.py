"""Metrics of services for Prometheus, by `GET /metrics` of the HTTP API."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wattline_protocol.views.service_views import ServiceView

if TYPE_CHECKING:
    from prometheus_client import Metric

PREFIX = "wattline_service_"
CONTENT_TYPE = "text/plain; version=0.0.4"

Values = Callable[[ServiceView], Iterable[tuple[str, float | None]]]
"""Of a service by the value of the second label; None = not known, and not shown."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """A metric. `label`: beside `service`; empty = none."""

    text: str
    values: Values
    label: str = ""


def _replicas(one: ServiceView) -> Iterable[tuple[str, float | None]]:
    numbers = one.replicas
    return (
        ("ready", numbers.ready),
        ("wanted", numbers.want),
        ("min", numbers.min),
        ("max", numbers.max),
    )


def _watts(one: ServiceView) -> Iterable[tuple[str, float | None]]:
    watts = one.watts
    if watts is None:
        return ()
    return ("now", watts.now), ("wanted", watts.wanted), ("floor", watts.floor)


def _burn_rates(one: ServiceView) -> Iterable[tuple[str, float | None]]:
    return () if one.slo is None else (("1h", one.slo.burn_1h), ("6h", one.slo.burn_6h))


def _times(one: ServiceView) -> Iterable[tuple[str, float | None]]:
    if one.slo is None:
        return ()
    measured_ms = one.slo.measured_p95_ms
    measured_s = None if measured_ms is None else measured_ms / 1000
    return ("slo", one.slo.p95_ms / 1000), ("measured", measured_s)


def _joules(one: ServiceView) -> Iterable[tuple[str, float | None]]:
    if one.energy is None:
        return ()
    return ("requests", one.energy.requests_j), ("idle", one.energy.idle_j)


def _outputs(one: ServiceView) -> Iterable[tuple[str, float | None]]:
    return () if one.energy is None else (("", one.energy.outputs),)


GAUGES = {
    "replicas": Gauge("Replicas", _replicas, "number"),
    "watts": Gauge("Watts of all GPUs of the revision that serves", _watts, "of"),
    "slo_burn_rate": Gauge("Burn rate of the error budget", _burn_rates, "window"),
    "p95_seconds": Gauge("95th percentile of the last hour, and that of the SLO", _times, "of"),
    "requests_per_second": Gauge(
        "Requests of the last minutes", lambda one: (("", one.requests_per_s),)
    ),
    "hour_joules": Gauge("Energy of the last hour as workers measured it", _joules, "of"),
    "hour_measured_outputs": Gauge("Outputs of the last hour whose energy was measured", _outputs),
}


def exposition(services: Iterable[ServiceView]) -> bytes:
    """Text format 0.0.4."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Services(tuple(services)))
    return generate_latest(registry)


class _Services:
    def __init__(self, services: tuple[ServiceView, ...]) -> None:
        self._services = services

    def collect(self) -> Iterator["Metric"]:
        from prometheus_client.core import GaugeMetricFamily

        for name, gauge in GAUGES.items():
            labels = ["service", gauge.label] if gauge.label else ["service"]
            metric = GaugeMetricFamily(PREFIX + name, f"{gauge.text}.", labels=labels)
            for one in self._services:
                for of, value in gauge.values(one):
                    if value is not None:
                        metric.add_metric([one.name, of][: len(labels)], value)
            yield metric
