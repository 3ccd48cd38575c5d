"""Metrics as Prometheus reads them.

Requests are counted in plain integers (`stats`): a counter of prometheus-client takes a lock and a
look-up of its labels each time, 5 µs a request. It gets the values when they are read.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from wattline_runtime.gateway.stats import BUCKETS_S
from wattline_runtime.gateway.telemetry.figures import FAMILIES, Figures

if TYPE_CHECKING:
    from prometheus_client import Metric

PREFIX = "wattline_gateway_"
CONTENT_TYPE = "text/plain; version=0.0.4"


def exposition(figures: Figures) -> bytes:
    """Text format 0.0.4."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(figures))
    return generate_latest(registry)


class _Families:
    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator["Metric"]:
        from prometheus_client import core

        kinds = {"counter": core.CounterMetricFamily, "gauge": core.GaugeMetricFamily}
        for name, family in FAMILIES.items():
            metric = kinds[family.kind](PREFIX + name, f"{family.text}.", labels=family.labels)
            for labels, value in sorted(self._figures.values.get(name, {}).items()):
                metric.add_metric(labels, value)
            yield metric
        name = f"{PREFIX}latency_seconds"
        histogram = core.HistogramMetricFamily(name, "Time to an output.", labels=["service"])
        for service, latency in sorted(self._figures.latency.items()):
            bounds, total = (*map(str, BUCKETS_S), "+Inf"), 0
            buckets: list[tuple[str, float]] = []
            for bound, count in zip(bounds, latency.counts, strict=True):
                total += count
                buckets.append((bound, total))
            histogram.add_metric([service], buckets, latency.sum_s)
        yield histogram
