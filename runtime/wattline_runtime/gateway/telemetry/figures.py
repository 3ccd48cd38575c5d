"""The values of all metrics at one moment, which those of other processes can be added to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from wattline_protocol.http.guard import Reason
from wattline_protocol.trust.refusals import RefusalReason
from wattline_protocol.wire.rollouts import NO_ENERGY
from wattline_runtime.gateway.answers.cache import AnswerCache
from wattline_runtime.gateway.answers.joules import UJ_PER_J
from wattline_runtime.gateway.core import Gateway
from wattline_runtime.gateway.revisions.reporting import NOTHING, revisions_of
from wattline_runtime.gateway.stats import Latency, Stats


@dataclass(frozen=True, slots=True)
class Family:
    """Kind, text and labels of a metric."""

    kind: Literal["counter", "gauge"]
    text: str
    labels: tuple[str, ...] = ()
    is_common: bool = False
    """All processes count the same things, so they are not added up."""


_SERVICE = ("service",)
_REVISION = ("service", "revision")
FAMILIES: dict[str, Family] = {
    "requests_total": Family("counter", "HTTP requests by status", ("service", "status")),
    "errors_total": Family("counter", "HTTP requests without output", ("service", "reason")),
    "retried_total": Family("counter", "Requests retried on another worker", _SERVICE),
    "circuits_opened_total": Family("counter", "Times that a worker's circuit opened", _SERVICE),
    "fallbacks_total": Family(
        "counter", "Inputs that something else than the service answered", ("service", "by")
    ),
    "routed_total": Family(
        "counter", "HTTP requests that a rule of a route sent", ("route", "rule", "service")
    ),
    "cascade_inputs_total": Family(
        "counter", "Inputs of cascades by what became of them", ("route", "rule", "outcome")
    ),
    "batch_rows_total": Family(
        "counter", "Rows of batches whose results were written", ("service", "outcome")
    ),
    "cache_hits_total": Family("counter", "Inputs answered without a run of their own", _SERVICE),
    "cache_misses_total": Family("counter", "Inputs that a worker had to answer", _SERVICE),
    "cache_bytes": Family("gauge", "Bytes of kept answers", _SERVICE),
    "hedged_total": Family(
        "counter", "Requests sent to a second worker because they were late", _SERVICE
    ),
    "load_requests_total": Family("counter", "Requests that arrived for workers", _SERVICE),
    "load_failed_total": Family(
        "counter", "Those without an output, for a reason other than their input", _SERVICE
    ),
    "load_left_total": Family("counter", "Those given up before their end", _SERVICE),
    "load_work_total": Family(
        "counter", "Work of those answered: tokens where the model reports them, else 1", _SERVICE
    ),
    "workers_probed": Family("gauge", "Workers that get probes only", _SERVICE, is_common=True),
    "queue_length": Family("gauge", "Requests waiting here", _SERVICE),
    "in_flight": Family("gauge", "Requests with workers", _SERVICE),
    "workers": Family("gauge", "Workers that take requests", _SERVICE, is_common=True),
    "revision_requests_total": Family(
        "counter", "Requests that workers of a revision got and ended", _REVISION
    ),
    "revision_errors_total": Family(
        "counter",
        "Requests that a revision did not answer, though another one did or it should have",
        _REVISION,
    ),
    "revision_copies_equal_total": Family(
        "counter", "Copies of requests that a revision answered as the old one", _REVISION
    ),
    "revision_copies_different_total": Family(
        "counter", "Copies of requests that a revision answered differently", _REVISION
    ),
    "revision_copies_uncompared_total": Family(
        "counter", "Copies of requests whose answers the model did not compare", _REVISION
    ),
    "revision_joules_total": Family(
        "counter", "Energy of GPUs for requests, where workers measure it", _REVISION
    ),
    "revision_idle_joules_total": Family(
        "counter", "Energy of GPUs of workers while they ran no request", _REVISION
    ),
    "revision_measured_outputs_total": Family(
        "counter", "Outputs whose energy was measured", _REVISION
    ),
    "revision_measured_tokens_total": Family("counter", "Tokens of these outputs", _REVISION),
    "workers_refused_total": Family(
        "counter", "Connections and messages of workers refused", ("reason",)
    ),
    "clients_refused_total": Family(
        "counter", "Connections and requests of clients refused", ("reason",)
    ),
    "keys_refused_total": Family("counter", "Requests without a valid key"),
}
"""By name, without its prefix; besides them there is the histogram of latencies."""

Labels = tuple[str, ...]


@dataclass(slots=True)
class Figures:
    """Values by family and labels."""

    values: dict[str, dict[Labels, float]] = field(default_factory=dict)
    latency: dict[str, Latency] = field(default_factory=dict)
    """By service."""

    def add(self, other: "Figures", *, has_ended: bool = False) -> None:
        """Add those of another process; of one that `has_ended` only what was counted."""
        for name, theirs in other.values.items():
            family, mine = FAMILIES[name], self.values.setdefault(name, {})
            if has_ended and family.kind == "gauge":
                continue
            for labels, value in theirs.items():
                before = mine.get(labels, 0)
                mine[labels] = max(before, value) if family.is_common else before + value
        for service, latency in other.latency.items():
            self.latency.setdefault(service, Latency()).add(latency)


def figures(
    stats: Stats,
    gateway: Gateway,
    refused: Mapping[RefusalReason, int],
    clients_refused: Mapping[Reason, int],
    caches: Mapping[str, AnswerCache[Any]],
    keys_refused: int = 0,
) -> Figures:
    """Those of this process. `refused`: refusals of the worker socket, by reason;
    `clients_refused`: connections and requests that were refused before they were parsed;
    `keys_refused`: requests without an API key for what they asked."""
    services = list(gateway.queue.services.values())
    of_revisions = {
        (service.name, str(number)): service.traffic.get(number, NOTHING)
        for service in services
        for number in revisions_of(service)
    }
    energy = {key: one.energy for key, one in of_revisions.items() if one.energy != NO_ENERGY}
    values: dict[str, dict[Labels, float]] = {
        "requests_total": {(name, str(code)): n for (name, code), n in stats.requests.items()},
        "errors_total": {(name, why): n for (name, why), n in stats.errors.items()},
        "retried_total": {(name,): n for name, n in stats.retried.items()},
        "circuits_opened_total": {(name,): n for name, n in stats.circuits_opened.items()},
        "fallbacks_total": {(name, by): n for (name, by), n in stats.fallbacks.items()},
        "routed_total": {(r, str(rule), to): n for (r, rule, to), n in stats.routed.items()},
        "cascade_inputs_total": {
            (route, str(rule), end): n for (route, rule, end), n in stats.cascades.items()
        },
        "batch_rows_total": {(name, end): n for (name, end), n in stats.batch_rows.items()},
        "cache_hits_total": {(name,): cache.hits for name, cache in caches.items()},
        "cache_misses_total": {(name,): cache.misses for name, cache in caches.items()},
        "cache_bytes": {(name,): cache.held_bytes for name, cache in caches.items()},
        "hedged_total": {(s.name,): s.hedging.hedged for s in services},
        "load_requests_total": {(s.name,): s.load.requests for s in services},
        "load_failed_total": {(s.name,): s.load.failed for s in services},
        "load_left_total": {(s.name,): s.load.left for s in services},
        "load_work_total": {(s.name,): s.load.work for s in services},
        "workers_probed": {(s.name,): len(s.probed) for s in services},
        "queue_length": {(s.name,): s.queued for s in services},
        "in_flight": {(s.name,): s.in_flight for s in services},
        "workers": {(s.name,): sum(w.takes_new for w in s.workers.values()) for s in services},
        "revision_requests_total": {key: one.requests for key, one in of_revisions.items()},
        "revision_errors_total": {key: one.errors for key, one in of_revisions.items()},
        "revision_copies_equal_total": {key: one.equal for key, one in of_revisions.items()},
        "revision_copies_different_total": {k: one.different for k, one in of_revisions.items()},
        "revision_copies_uncompared_total": {k: one.uncompared for k, one in of_revisions.items()},
        "revision_joules_total": {k: one.requests_uj / UJ_PER_J for k, one in energy.items()},
        "revision_idle_joules_total": {k: one.idle_uj / UJ_PER_J for k, one in energy.items()},
        "revision_measured_outputs_total": {key: one.outputs for key, one in energy.items()},
        "revision_measured_tokens_total": {key: one.tokens for key, one in energy.items()},
        "workers_refused_total": {
            **{(reason,): n for reason, n in refused.items()},
            ("beat",): stats.rejected,
        },
        "clients_refused_total": {(reason,): n for reason, n in clients_refused.items()},
        "keys_refused_total": {(): keys_refused},
    }
    return Figures(values, stats.latency)
