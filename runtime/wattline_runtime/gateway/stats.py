"""Counters of the gateway."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from wattline_protocol.routing.model import PublicRoute

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

UNKNOWN_SERVICE = "-"
"""Label of requests to services that do not exist: their names must not grow the series."""


CascadeEnd = Literal["kept", "escalated", "failed"]
CASCADE_ENDS: tuple[CascadeEnd, ...] = get_args(CascadeEnd)
"""The small service answered with confidence; the large one did; it did not, though it should."""


@dataclass(slots=True)
class Latency:
    """A histogram of seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    sum_s: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one request."""
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds

    def add(self, other: "Latency") -> None:
        """Count the requests of another one as well."""
        self.counts = [
            mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)
        ]
        self.sum_s += other.sum_s


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
    routed: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    """HTTP requests by route, number of the rule, and service that the rule names."""
    cascades: Counter[tuple[str, int, CascadeEnd]] = field(default_factory=Counter)
    """Inputs by route, number of the rule, and which service's answer stands."""
    batch_rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Rows of batches whose results were written, by service and outcome."""
    rejected: int = 0

    def keep_routes(self, routes: Mapping[str, PublicRoute]) -> None:
        """Forget counts of routes and rules that are no more: their names must not grow the
        series."""
        tables: tuple[Counter[Any], ...] = self.routed, self.cascades
        for counts in tables:
            for key in [key for key in counts if not _is_in(routes, key[0], key[1])]:
                del counts[key]

    def keep_services(self, known: Collection[str]) -> None:
        """The same of services, and of routes as clients know them."""
        kept = {*known, UNKNOWN_SERVICE}
        by_service: tuple[dict[str, Any], ...] = self.retried, self.circuits_opened, self.latency
        for one in by_service:
            for name in one.keys() - kept:
                del one[name]
        tables: tuple[Counter[Any], ...] = self.requests, self.errors, self.fallbacks
        for counts in (*tables, self.batch_rows):
            for key in [key for key in counts if key[0] not in kept]:
                del counts[key]

    def count(self, service: str, status: int, reason: str, seconds: float) -> None:
        """One HTTP request has been answered; `reason` is empty for one with output."""
        self.requests[service, status] += 1
        if reason:
            self.errors[service, reason] += 1
        else:
            self.latency[service].observe(seconds)


def _is_in(routes: Mapping[str, PublicRoute], name: str, rule: int) -> bool:
    route = routes.get(name)
    return route is not None and route.target_of(rule) is not None
