"""Traffic of services as gateways report it, and the rollouts that are judged by it."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wattline_protocol.ids import Instant, JobId, Now, TaskRef
from wattline_protocol.wire.rollouts import BUCKETS_S, ServiceTraffic, WorkerTraffic
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.records import RolloutRecord

P95 = 0.95

SILENT_S = 5.0
"""A gateway without a report for so long is silent."""

GONE_S = 60.0
"""After this time it is no longer waited for where others report."""

SETTLE_S = 3.0
"""Time for all gateways to report to a scheduler that has just started."""

WORK_HALF_LIFE_S = 300.0
"""Of an answer's weight in the mean work of a request."""


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
    load: dict[str, ServiceTraffic] | None = None
    """Of services that exist, since the last second that was added up; None = it reports none."""
    load_s: float = 0.0
    """Time that this covers; 0 = it has not reported since."""
    loaded: frozenset[str] | None = None
    """Services that all reports of this time have, of reports that leave some out; None = all."""
    ahead_s: float = 0.0
    """By how much the times that its reports claim exceed the time in which they came."""
    is_awaited: bool = False
    """It reported to an earlier run of the scheduler, and not to this one yet."""

    def elapsed_s(self, seconds: float, now: Now) -> tuple[float, float]:
        """Time that a report of so many seconds covers, and how far it is then ahead. Reports that
        were held up come together, so that a single one says nothing; all together cover the time
        in which they came, but for what one that is not silent can be late."""
        ahead_s = self.ahead_s + seconds - (now.mono_s - self.heard_at)
        bounded_s = min(max(ahead_s, -SILENT_S), SILENT_S)
        return max(seconds + bounded_s - ahead_s, 0.0), bounded_s

    def is_silent(self, now: Now) -> bool:
        """Whether its next report is overdue."""
        return self.is_awaited or now.mono_s - self.heard_at > SILENT_S

    def is_gone(self, now: Now) -> bool:
        """Whether it is silent for so long that the load of the others is what is known. It may
        serve nevertheless, by the routes that it had last."""
        return now.mono_s - self.heard_at > GONE_S


def awaited_gateways(traffic: Mapping[str, GatewayTraffic], now: Now) -> dict[str, GatewayTraffic]:
    """Those that report, or did so lately."""
    return {name: one for name, one in traffic.items() if not one.is_gone(now)}


def silence(traffic: Mapping[str, GatewayTraffic], started_at: Instant, now: Now) -> str:
    """Why it is not known what gateways see; empty = it is."""
    awaited = awaited_gateways(traffic, now)
    if not awaited:
        return "no gateway reports"
    if now.mono_s - started_at < SETTLE_S:
        return "the scheduler has just started"
    silent = sorted(name for name, one in awaited.items() if one.is_silent(now))
    return f"gateway {silent[0]} does not report" if silent else ""


def gone_gateways(traffic: Mapping[str, GatewayTraffic], now: Now) -> list[str]:
    """Names of enrolled gateways that may serve, and whose load is not known."""
    return sorted(name for name, one in traffic.items() if one.is_gone(now))


@dataclass(slots=True)
class MeanWork:
    """Mean work of a request of one service, by its newest answers."""

    answers: float = 0.0
    work: float = 0.0

    def add(self, answers: int, work: int, seconds: float) -> None:
        """Takes the answers of so many seconds."""
        kept = 0.5 ** (seconds / WORK_HALF_LIFE_S)
        self.answers = self.answers * kept + answers
        self.work = self.work * kept + work

    @property
    def each(self) -> float:
        """1 before the first answer."""
        return self.work / self.answers if self.answers else 1.0


@dataclass(slots=True)
class LoadClock:
    """When the loads of all gateways were last added up, and what a request is worth."""

    added_at: Instant | None = None
    judged_minute: int = 0
    """Since the epoch, in which error budgets were last examined."""
    mean_work: dict[str, MeanWork] = field(default_factory=dict)
    """By service."""


def seen_workers(
    traffic: Mapping[str, GatewayTraffic], now: Now
) -> list[dict[TaskRef, WorkerTraffic]]:
    """Workers of each gateway that reports any."""
    heard = (one for one in traffic.values() if not one.is_silent(now))
    return [one.workers for one in heard if one.workers is not None]


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


def serving_job(jobs: Sequence[Job], rollout: Rollout | None) -> Job:
    """Of a service's open jobs, by number, the newest one, unless a rollout has not replaced the
    old one, or has gone back to it."""
    if rollout is not None and rollout.record.phase != "done":
        return next((job for job in jobs if job.id == rollout.record.old), jobs[-1])
    return jobs[-1]
