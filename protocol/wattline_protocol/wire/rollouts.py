"""Rollouts of services: requests, view, reports of gateways, and how gateways share out requests.

A revision of a service is the number of its job.
"""

from collections.abc import Sequence
from itertools import zip_longest
from operator import add
from typing import Annotated, Literal

import msgspec

from wattline_protocol.ids import JobId, TaskRef, UnixTime
from wattline_protocol.wire.api_keys import Microjoules, ReportAbuse, Tokens
from wattline_protocol.wire.bounds import PLAIN, Count, Name, Seconds, Serial, Span, Word

MAX_REQUESTS = 10**7
"""Of a service at one gateway between two of its reports, which are about a second apart."""

MAX_WORK = 10**12
"""Tokens of so many requests."""

LEAST_RISE_S = 0.3
"""Shortest time whose requests show that the load has risen."""

Requests = Annotated[int, msgspec.Meta(ge=0, le=MAX_REQUESTS)]
Work = Annotated[int, msgspec.Meta(ge=0, le=MAX_WORK)]
"""Of a request the tokens that its model reports; 1 where it reports none."""

BUCKETS_S: tuple[float, ...] = tuple(0.001 * 2 ** (n / 2) for n in range(33))
"""Upper bounds of the times that gateways count; longer ones are counted in one more bucket."""

MAX_REPORTED = 4_096
"""Revisions in one report, and workers."""

MAX_PROCESSES = 64
"""Of a gateway."""

MAX_RISES = 256
"""Services in one report of rises: others are in the next one, and in that of the second."""

MAX_STATE_CHARS = 32

NO_DIFFERENCE = "equal"
CLOSE = "close="
BY_MODEL = "model"

RolloutPhase = Literal["starting", "checking", "waiting", "replacing", "done", "back"]
"""starting: its first replica is not ready; checking: the health gate; waiting: for `promote` or
`back`; replacing: replica by replica; done: the old job has ended; back: the new one has."""

ENDED_PHASES: tuple[RolloutPhase, ...] = ("done", "back")


def tolerance_of(compare: str) -> float:
    """Relative difference of numbers that counts as none. Raises ValueError."""
    if compare in (NO_DIFFERENCE, BY_MODEL):
        return 0.0
    text = compare.removeprefix(CLOSE)
    try:
        found = float(text) if compare.startswith(CLOSE) else -1.0
    except ValueError:
        found = -1.0
    if not 0 < found < 1:
        known = f"{NO_DIFFERENCE}, {BY_MODEL} nor, for example, {CLOSE}1e-3"
        raise ValueError(f"comparison {compare!r} is neither {known}")
    return found


class RolloutOptions(msgspec.Struct, frozen=True):
    """How a revision is rolled out. Shares are thousandths of the requests."""

    canary_permille: Count[int] = 0
    """Share of the new revision until `promote` or `back`; 0 = it is promoted by the gate."""
    shadow_permille: Count[int] = 0
    """Share that the new revision gets as copies, whose answers are only compared, until then."""
    compare: Word[str] = NO_DIFFERENCE
    """How they are compared: `equal`, `close=1e-3` for numbers that may differ so much, or `model`:
    by the method `compare` of the new revision's model."""
    is_in_place: bool = False
    """One replica of the old revision is stopped first, for its GPUs."""


class SteerRollout(msgspec.Struct, frozen=True, tag_field="t", tag="steer_rollout"):
    """Continue a rollout that waits, or end it in favour of the old revision."""

    name: Name[str]
    action: Literal["promote", "back"]


class GetRollout(msgspec.Struct, frozen=True, tag_field="t", tag="get_rollout"):
    """The newest rollout of a service."""

    name: Name[str]


class MeasuredEnergy(msgspec.Struct, frozen=True):
    """Energy of GPUs as workers measured it, in microjoules, of workers that measure."""

    requests_uj: Microjoules = 0
    """Of all requests that they ended, with and without output, copies included."""
    idle_uj: Microjoules = 0
    """Of no request: while none ran."""
    outputs: Count[int] = 0
    """Outputs whose energy was measured."""
    tokens: Tokens = 0
    """Of these outputs."""

    def plus(self, other: "MeasuredEnergy", sign: int = 1) -> "MeasuredEnergy":
        """The sum, or with -1 the difference."""
        return MeasuredEnergy(
            self.requests_uj + sign * other.requests_uj,
            self.idle_uj + sign * other.idle_uj,
            self.outputs + sign * other.outputs,
            self.tokens + sign * other.tokens,
        )


NO_ENERGY = MeasuredEnergy()


class RevisionTraffic(msgspec.Struct, frozen=True):
    """A revision as one gateway sees it; counts are those since its last report."""

    service: Name[str]
    revision: Serial[JobId]
    ready: Count[int]
    """Its workers that take requests."""
    requests: Count[int] = 0
    errors: Count[int] = 0
    """Requests that ended without the output that another revision gave or could have given."""
    times: Annotated[tuple[Count[int], ...], msgspec.Meta(max_length=len(BUCKETS_S) + 1)] = ()
    """Answers by time at the worker, in `BUCKETS_S`; empty = none."""
    equal: Count[int] = 0
    """Copies answered as the old revision answered."""
    different: Count[int] = 0
    uncompared: Count[int] = 0
    """Copies whose answers the model did not compare."""
    compares: bool | None = None
    """Its model compares outputs; None = unknown, as of workers of an earlier release."""
    energy: MeasuredEnergy = NO_ENERGY


class WorkerTraffic(msgspec.Struct, frozen=True):
    """A connected worker as one gateway sees it."""

    ref: TaskRef
    state: Annotated[str, msgspec.Meta(max_length=MAX_STATE_CHARS, pattern=PLAIN)]
    """A word of the gateway: loading, ready, stalled, draining, probed."""
    in_flight: Count[int] = 0
    """Requests that it has of this gateway."""
    batch_s: Seconds = 0.0
    """Time of its batches; 0 = not measured."""
    waiting: Count[int] = 0
    """Requests in flight without an answer or a part of it; those of priority `batch` excepted."""


class ServiceTraffic(msgspec.Struct, frozen=True):
    """The load of a service at one gateway since its last report.

    Requests of priority `batch` run on what others leave: they count in `batch_work` only.
    """

    service: Name[str]
    requests: Requests = 0
    """Those that arrived."""
    answered: Requests = 0
    failed: Requests = 0
    """Those that ended without an output, for a reason other than their input."""
    left: Requests = 0
    """Those that were given up before their end, as by clients that disconnect; they count in
    `times` with the time that they waited for a first answer."""
    work: Work = 0
    """Of the answered ones."""
    batch_work: Work = 0
    queued: Requests = 0
    """Those that are with no worker now."""
    times: Annotated[tuple[Requests, ...], msgspec.Meta(max_length=len(BUCKETS_S) + 1)] = ()
    """Requests by the time from their arrival to the answer, or to the first part of a stream, in
    `BUCKETS_S`; empty = none."""
    covered: Requests = 0
    """Failed ones, perhaps of an earlier report, that the fallback answered while no replica was
    ready; `times` has their times."""

    def plus(self, other: "ServiceTraffic") -> "ServiceTraffic":
        """The sum of both, of the same service."""
        return ServiceTraffic(
            self.service,
            self.requests + other.requests,
            self.answered + other.answered,
            self.failed + other.failed,
            self.left + other.left,
            self.work + other.work,
            self.batch_work + other.batch_work,
            self.queued + other.queued,
            plus_times(self.times, other.times),
            self.covered + other.covered,
        )


def plus_times(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """The sum of two histograms over `BUCKETS_S`; one that is shorter ends with zeros."""
    if not one or not other:
        return one or other
    if len(one) == len(other):
        return tuple(map(add, one, other))
    return tuple(a + b for a, b in zip_longest(one, other, fillvalue=0))


class RouteTraffic(msgspec.Struct, frozen=True):
    """A rule of a route at one gateway since its last report."""

    route: Name[str]
    rule: Count[int]
    """From 1; 0: the default."""
    requests: Count[int] = 0
    kept: Count[int] = 0
    """Of a cascade: inputs that the small service answered with confidence."""
    escalated: Count[int] = 0
    """Those that the large one answered."""
    failed: Count[int] = 0
    """Those that the large one should have answered, and did not."""

    def plus(self, other: "RouteTraffic") -> "RouteTraffic":
        """The sum of both, of the same rule."""
        return RouteTraffic(
            self.route,
            self.rule,
            self.requests + other.requests,
            self.kept + other.kept,
            self.escalated + other.escalated,
            self.failed + other.failed,
        )


class ReportTraffic(msgspec.Struct, frozen=True, tag_field="t", tag="report_traffic"):
    """Gateway only: the revisions and workers of all services, about once a second."""

    revisions: Annotated[tuple[RevisionTraffic, ...], msgspec.Meta(max_length=MAX_REPORTED)]
    workers: Annotated[tuple[WorkerTraffic, ...], msgspec.Meta(max_length=MAX_REPORTED)] | None = (
        None
    )
    """None: a gateway of an earlier release, which does not report them."""
    routes: Annotated[tuple[RouteTraffic, ...], msgspec.Meta(max_length=MAX_REPORTED)] = ()
    services: (
        Annotated[tuple[ServiceTraffic, ...], msgspec.Meta(max_length=MAX_REPORTED)] | None
    ) = None
    """Each service once, also without requests. None: a gateway of an earlier release, whose load
    is not known."""
    seconds: Span = 1.0
    """Time that the counts cover."""
    left_out: Count[int] = 0
    """Revisions, workers and services beyond `MAX_REPORTED`."""

    @classmethod
    def bounded(
        cls,
        revisions: Sequence[RevisionTraffic],
        workers: Sequence[WorkerTraffic],
        routes: Sequence[RouteTraffic],
        services: Sequence[ServiceTraffic],
        seconds: float,
    ) -> "ReportTraffic":
        """A report of the first ones; it counts those that it leaves out. A service without load
        needs no row: there may be many that never ran."""
        services = [one for one in services if one != ServiceTraffic(one.service)]
        rows = revisions, workers, services
        return cls(
            tuple(revisions[:MAX_REPORTED]),
            tuple(workers[:MAX_REPORTED]),
            tuple(routes[:MAX_REPORTED]),
            tuple(services[:MAX_REPORTED]),
            seconds,
            sum(max(len(some) - MAX_REPORTED, 0) for some in rows),
        )


class LoadRise(msgspec.Struct, frozen=True):
    """Requests of a service that lately arrived beyond what is usual, and beyond chance."""

    service: Name[str]
    per_s: Annotated[float, msgspec.Meta(gt=0.0, le=MAX_REQUESTS / LEAST_RISE_S)]
    """More requests a second than usual."""


class ReportRises(msgspec.Struct, frozen=True, tag_field="t", tag="report_rises"):
    """Gateway only: services whose load has just risen, at most twice a second. Reports of traffic
    have the same requests."""

    rises: Annotated[tuple[LoadRise, ...], msgspec.Meta(max_length=MAX_RISES)]
    process: Annotated[int, msgspec.Meta(ge=0, lt=MAX_PROCESSES)] = 0
    """Of the gateway: each one reports its own requests."""


GatewayReport = ReportTraffic | ReportRises | ReportAbuse

RolloutRequest = SteerRollout | GetRollout | ReportTraffic | ReportRises


class RouteSplit(msgspec.Struct, frozen=True):
    """How requests are shared out while a revision is on trial; without one, by ready workers."""

    revision: JobId
    """The new one."""
    share_permille: int
    """Of the requests, while the old one has a ready worker."""
    shadow_permille: int = 0
    compare: str = NO_DIFFERENCE
    """For gateways of an earlier release `equal` if the model compares."""
    is_by_model: bool = False
    """The model of the new revision compares."""
    is_guarded: bool = True
    """Requests that it fails at are sent to the old one."""


class RevisionView(msgspec.Struct, frozen=True):
    """One side of a rollout. Traffic is that since the last step."""

    job: JobId
    replicas: int
    """Of its job."""
    allowed: int
    """Of them, those that may run now."""
    ready: int
    requests: int
    errors: int
    p95_ms: float | None
    """None: no answer yet."""


class RolloutView(msgspec.Struct, frozen=True):
    """A rollout, in progress or the last one."""

    service: str
    phase: RolloutPhase
    text: str
    """Reason that it waits, or of its end."""
    is_paused: bool
    """No gateway reports, or not every one: nothing is decided."""
    new: RevisionView
    old: RevisionView
    canary: float
    shadow: float
    compare: str
    equal: int
    different: int
    requester: str
    since_unix_s: UnixTime
    uncompared: int = 0


class RolloutNow(msgspec.Struct, frozen=True, tag_field="t", tag="rollout_now"):
    rollout: RolloutView
