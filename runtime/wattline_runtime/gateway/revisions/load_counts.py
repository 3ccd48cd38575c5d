"""Load of one service, counted since the gateway knows it. No I/O."""

from bisect import bisect_left
from dataclasses import dataclass, field
from operator import sub

import msgspec

from wattline_protocol.wire.rollouts import BUCKETS_S, MAX_WORK, ServiceTraffic
from wattline_runtime.gateway.events import BATCH, Outcome, Output, RefusalReason, RequestKind

FAULTS_OF_REQUESTS: tuple[RefusalReason, ...] = (
    "unknown_service",
    "bad_input",
    "no_method",
    "poison",
)
"""No replica has an output for these: they say nothing about the service."""

_COUNTS = ("requests", "answered", "failed", "left", "work", "batch_work", "covered")


@dataclass(slots=True)
class LoadCounts:
    """As `ServiceTraffic` has them."""

    requests: int = 0
    answered: int = 0
    failed: int = 0
    left: int = 0
    work: int = 0
    batch_work: int = 0
    covered: int = 0
    times: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))

    def arrived(self, kind: RequestKind) -> None:
        """A request, admitted or not."""
        self.requests += kind.rank != BATCH

    def begun(self, kind: RequestKind, took_s: float) -> None:
        """Its client gets the answer, or the first part of it."""
        if kind.rank != BATCH:
            self.times[bisect_left(BUCKETS_S, took_s)] += 1

    def ended(self, kind: RequestKind, outcome: Outcome) -> None:
        """Its client has all that it gets."""
        is_batch = kind.rank == BATCH
        if not isinstance(outcome, Output):
            self.failed += not is_batch and outcome.reason not in FAULTS_OF_REQUESTS
        elif is_batch:
            self.batch_work += outcome.tokens or 1
        else:
            self.answered += 1
            self.work += outcome.tokens or 1

    def abandoned(self, kind: RequestKind, waited_s: float | None) -> None:
        """Its answer is no longer wanted; None: a part of it was sent."""
        self.left += kind.rank != BATCH
        if waited_s is not None:
            self.begun(kind, waited_s)

    def answered_instead(self, kind: RequestKind, took_s: float) -> None:
        """An entry of the fallback has answered a failed request, while no replica was ready."""
        self.covered += kind.rank != BATCH
        self.begun(kind, took_s)

    def report(self, service: str, queued: int) -> ServiceTraffic:
        """The counts as they are now."""
        counts = {name: getattr(self, name) for name in _COUNTS}
        return ServiceTraffic(service, queued=queued, times=tuple(self.times), **counts)


def since(now: ServiceTraffic, before: ServiceTraffic | None) -> ServiceTraffic:
    """Counts since an earlier report of the same counts; what is queued is what is queued now."""
    if before is None:
        before = ServiceTraffic(now.service, times=(0,) * len(now.times))
    counts = {name: getattr(now, name) - getattr(before, name) for name in _COUNTS}
    times = tuple(map(sub, now.times, before.times))
    return bounded(msgspec.structs.replace(now, times=times if any(times) else (), **counts))


def bounded(load: ServiceTraffic) -> ServiceTraffic:
    """The load with no more work than a report may have: it follows tokens that models report, and
    one report beyond its bounds is refused with those of all other services."""
    work, batch_work = min(load.work, MAX_WORK), min(load.batch_work, MAX_WORK)
    return msgspec.structs.replace(load, work=work, batch_work=batch_work)
