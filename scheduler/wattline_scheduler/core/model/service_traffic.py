"""Traffic of services as gateways report it, and the rollouts that are judged by it."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from wattline_protocol.ids import Instant, JobId, Now, TaskRef
from wattline_protocol.wire.rollouts import BUCKETS_S, WorkerTraffic
from wattline_scheduler.records import RolloutRecord

P95 = 0.95

SILENT_S = 5.0
"""A gateway without a report for so long is silent."""


@dataclass(slots=True)
class Tally:
    """Requests of one revision at all gateways, since the last step of its rollout."""

    seconds: float = 0.0
    """Of them, those in which gateways reported."""
    requests: int = 0
    errors: int = 0
    times: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    """Answers by time, in `BUCKETS_S`."""

    def add(self, requests: int, errors: int, times: Sequence[int]) -> None:
        """Adds a report."""
        self.requests += requests
        self.errors += errors
        for at, count in enumerate(times):
            self.times[at] += count

    @property
    def error_rate(self) -> float:
        return self.errors / self.requests if self.requests else 0.0

    @property
    def answers(self) -> int:
        return sum(self.times)

    @property
    def p95_s(self) -> float | None:
        """Upper bound of the bucket with the 95 % quantile; None = no answer."""
        below, total = 0, self.answers
        for at, count in enumerate(self.times):
            below += count
            if count and below >= P95 * total:
                return BUCKETS_S[min(at, len(BUCKETS_S) - 1)]
        return None

    def slower_than(self, limit_s: float) -> int:
        """Answers that certainly took longer."""
        return sum(self.times[bisect_left(BUCKETS_S, limit_s) + 1 :])


@dataclass(slots=True)
class GatewayTraffic:
    """The newest report of one gateway."""

    heard_at: Instant
    ready: dict[tuple[str, JobId], int] = field(default_factory=dict)
    """Ready workers by service and revision."""
    workers: dict[TaskRef, WorkerTraffic] | None = None
    """Its workers, of attempts that are live; None = it does not report them."""

    def is_silent(self, now: Now) -> bool:
        """Whether its next report is overdue."""
        return now.mono_s - self.heard_at > SILENT_S


@dataclass(slots=True)
class Rollout:
    """A rollout in memory. Traffic is not on record: a restart measures again."""

    record: RolloutRecord
    old: Tally = field(default_factory=Tally)
    new: Tally = field(default_factory=Tally)
    text: str = ""
    """What it waits for."""
    is_paused: bool = False
    """Gateways are silent."""
    begun_at: Instant | None = None
    """Since when a replica of the new revision runs without being ready."""
    seen_at: Instant | None = None
    """Time of the last evaluation."""
    saved_at: Instant | None = None
    """When counts of compared answers were last saved."""
    equal: int = 0
    """Compared answers that are not on record yet."""
    different: int = 0
    uncompared: int = 0
    compares: bool | None = None
    """Whether the model of the new revision compares outputs; None = unknown."""

    def restart_measurement(self) -> None:
        """Drops what was measured before a step."""
        self.old, self.new = Tally(), Tally()
        self.begun_at = None
