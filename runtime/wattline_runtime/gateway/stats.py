"""Counters of the gateway, and their Prometheus text."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from wattline_protocol.http.guard import Reason
from wattline_protocol.trust.refusals import RefusalReason
from wattline_runtime.gateway.answers.cache import AnswerCache
from wattline_runtime.gateway.core import Gateway
from wattline_runtime.gateway.revisions.reporting import NOTHING, revisions_of
from wattline_runtime.gateway.revisions.trial import Traffic
from wattline_runtime.gateway.state import ServiceState

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

UNKNOWN_SERVICE = "-"
"""Label of requests to services that do not exist: their names must not grow the series."""


@dataclass(slots=True)
class Latency:
    """A histogram of seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    sum_s: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one request."""
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds


@dataclass(slots=True)
class Stats:
    """Counters since the gateway started."""

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    """HTTP requests by service and status."""
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    """HTTP requests without output, by service and reason."""
    retried: Counter[str] = field(default_factory=Counter)
    circuits_opened: Counter[str] = field(default_factory=Counter)
    fallbacks: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Inputs answered instead of the service, by service and by what answered."""
    latency: defaultdict[str, Latency] = field(default_factory=lambda: defaultdict(Latency))
    """Of requests answered with output."""
    rejected: int = 0

    def count(self, service: str, status: int, reason: str, seconds: float) -> None:
        """One HTTP request has been answered; `reason` is empty for one with output."""
        self.requests[service, status] += 1
        if reason:
            self.errors[service, reason] += 1
        else:
            self.latency[service].observe(seconds)


def render(
    stats: Stats,
    gateway: Gateway,
    refused: Mapping[RefusalReason, int],
    clients_refused: Mapping[Reason, int],
    caches: Mapping[str, AnswerCache[Any]],
    keys_refused: int = 0,
) -> str:
    """Prometheus text format 0.0.4. `refused`: refusals of the worker socket, by reason;
    `clients_refused`: connections and requests that were refused before they were parsed;
    `keys_refused`: requests without an API key for what they asked."""
    lines: list[str] = []
    lines.extend(_family("requests_total", "counter", "HTTP requests by status", _requests(stats)))
    lines.extend(_family("errors_total", "counter", "HTTP requests without output", _errors(stats)))
    retried = ((_service(name), value) for name, value in stats.retried.items())
    lines.extend(_family("retried_total", "counter", "Requests retried on another worker", retried))
    opened = ((_service(name), value) for name, value in stats.circuits_opened.items())
    text = "Times that a worker's circuit opened"
    lines.extend(_family("circuits_opened_total", "counter", text, opened))
    instead = ((f"{_service(s)},{_label('by', b)}", v) for (s, b), v in stats.fallbacks.items())
    text = "Inputs that something else than the service answered"
    lines.extend(_family("fallbacks_total", "counter", text, instead))
    lines.extend(_cached(caches))
    services = list(gateway.queue.services.values())
    text = "Requests sent to a second worker because they were late"
    lines.extend(_family("hedged_total", "counter", text, _gauge(services, "h")))
    text = "Workers that get probes only"
    lines.extend(_family("workers_probed", "gauge", text, _gauge(services, "p")))
    lines.extend(_family("queue_length", "gauge", "Requests waiting here", _gauge(services, "q")))
    lines.extend(_family("in_flight", "gauge", "Requests with workers", _gauge(services, "f")))
    lines.extend(_family("workers", "gauge", "Workers that take requests", _gauge(services, "w")))
    lines.extend(_of_revisions(services))
    by_reason = [(f'reason="{reason}"', count) for reason, count in sorted(refused.items())]
    by_reason.append(('reason="beat"', stats.rejected))
    text = "Connections and messages of workers refused"
    lines.extend(_family("workers_refused_total", "counter", text, by_reason))
    by_client = [(f'reason="{reason}"', count) for reason, count in sorted(clients_refused.items())]
    text = "Connections and requests of clients refused"
    lines.extend(_family("clients_refused_total", "counter", text, by_client))
    keys = [("", keys_refused)]
    lines.extend(_family("keys_refused_total", "counter", "Requests without a valid key", keys))
    lines.extend(_family("latency_seconds", "histogram", "Time to an output", []))
    for service, latency in stats.latency.items():
        lines.extend(_histogram(service, latency))
    return "\n".join(lines) + "\n"


def _of_revisions(services: list[ServiceState]) -> Iterator[str]:
    rows = [
        (f'{_service(service.name)},revision="{number}"', service.traffic.get(number, NOTHING))
        for service in services
        for number in revisions_of(service)
    ]
    text = "Requests that workers of a revision got and ended"
    yield from _family("revision_requests_total", "counter", text, _each(rows, "requests"))
    text = "Requests that a revision did not answer, though another one did or it should have"
    yield from _family("revision_errors_total", "counter", text, _each(rows, "errors"))
    text = "Copies of requests that a revision answered as the old one"
    yield from _family("revision_copies_equal_total", "counter", text, _each(rows, "equal"))
    text = "Copies of requests that a revision answered differently"
    yield from _family("revision_copies_different_total", "counter", text, _each(rows, "different"))


def _each(rows: list[tuple[str, Traffic]], which: str) -> Iterator[tuple[str, int]]:
    return ((label, getattr(traffic, which)) for label, traffic in rows)


def _family(name: str, kind: str, text: str, samples: Iterable[tuple[str, int]]) -> Iterator[str]:
    full = f"wattline_gateway_{name}"
    yield f"# HELP {full} {text}."
    yield f"# TYPE {full} {kind}"
    for labels, value in samples:
        yield f"{full}{{{labels}}} {value}" if labels else f"{full} {value}"


def _cached(caches: Mapping[str, AnswerCache[Any]]) -> Iterator[str]:
    for name, kind, text, field_name in (
        ("cache_hits_total", "counter", "Inputs answered without a run of their own", "hits"),
        ("cache_misses_total", "counter", "Inputs that a worker had to answer", "misses"),
        ("cache_bytes", "gauge", "Bytes of kept answers", "held_bytes"),
    ):
        values = ((_service(service), getattr(c, field_name)) for service, c in caches.items())
        yield from _family(name, kind, text, values)


def _requests(stats: Stats) -> Iterator[tuple[str, int]]:
    for (service, status), value in sorted(stats.requests.items()):
        yield f'{_service(service)},status="{status}"', value


def _errors(stats: Stats) -> Iterator[tuple[str, int]]:
    for (service, reason), value in sorted(stats.errors.items()):
        yield f'{_service(service)},reason="{reason}"', value


def _gauge(services: list[ServiceState], which: str) -> Iterator[tuple[str, int]]:
    for service in services:
        value = {
            "q": service.queued,
            "h": service.hedging.hedged,
            "p": len(service.probed),
            "f": service.in_flight,
            "w": sum(1 for worker in service.workers.values() if worker.takes_new),
        }[which]
        yield _service(service.name), value


def _histogram(service: str, latency: Latency) -> Iterator[str]:
    name = "wattline_gateway_latency_seconds"
    label = _service(service)
    total = 0
    for bound_s, count in zip((*BUCKETS_S, "+Inf"), latency.counts, strict=True):
        total += count
        yield f'{name}_bucket{{{label},le="{bound_s}"}} {total}'
    yield f"{name}_sum{{{label}}} {latency.sum_s:.6f}"
    yield f"{name}_count{{{label}}} {total}"


def _service(name: str) -> str:
    """The label of a service, with any characters in its name."""
    return _label("service", name)


def _label(label: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{label}="{escaped}"'
