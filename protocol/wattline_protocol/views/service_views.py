"""Services as users see them: revision, replicas, and the workers behind gateways."""

import msgspec

from wattline_protocol.ids import JobId
from wattline_protocol.routing.requests import RouteRequest
from wattline_protocol.views.capacity_views import CapacityView, GetCapacity
from wattline_protocol.views.request_logs import LogAnswer, LogRequest
from wattline_protocol.wire.bounds import Name
from wattline_protocol.wire.rollouts import RolloutNow, RolloutRequest


class ListServices(msgspec.Struct, frozen=True, tag_field="t", tag="list_services"):
    """Open services with their workers."""

    name: Name[str] = ""
    """Only this one, a service or a route; empty = all."""


class ReplicasView(msgspec.Struct, frozen=True):
    """Numbers of replicas. Where the job file has a number, `min`, `max` and `want` are that."""

    min: int
    max: int
    want: int
    ready: int
    """Ready at every gateway that reports, of all revisions."""
    why: str = ""
    """Of `want`; empty where it is a number of the job file."""


class WattsView(msgspec.Struct, frozen=True):
    """Of all GPUs of live replicas of the revision that serves."""

    now: float
    """Measured."""
    wanted: float
    """Caps that its SLO needs at its load."""
    floor: float
    """Minimum caps."""


class SloView(msgspec.Struct, frozen=True):
    """The SLO of a service, and how fast its error budget burns: at 1 it lasts as long as it is
    for. A request is bad if it failed, or was answered later than `p95_ms`."""

    p95_ms: float
    errors: float
    """Share of the requests that may fail."""
    burn_1h: float | None
    """None: the load of that time is not known."""
    burn_6h: float | None
    measured_p95_ms: float | None = None
    """Of the last hour; None = no answer."""
    measured_errors: float | None = None
    """Of the last hour; None = no request."""
    known_h: float = 0.0
    """Of the last six hours, those in which the load was known."""


class WorkerView(msgspec.Struct, frozen=True):
    """A replica that is placed, or that failed and waits for its next try."""

    task: str
    """Job, task and attempt, as in `7.0#1`."""
    node: str
    state: str
    """The worst of those that gateways report. `starting`: one of them does not know it yet;
    `paused`, `lost` or `failed`: as the scheduler knows; `unknown`: no gateway reports."""
    in_flight: int = 0
    """Requests there, of all gateways."""
    batch_s: float = 0.0
    """Time of a batch, the longest reported; 0 = not measured."""
    reason: str = ""
    """Why its last try failed, until it is ready."""
    joules: float | None = None
    """Energy of its GPUs since it started; None: it has none, or none was measured."""
    gpu_memory_bytes: int | None = None
    """In use on its GPUs; None: unknown, or it has shares of GPUs."""
    memory_bytes: int | None = None
    """Host memory, at most so far."""


class EnergyView(msgspec.Struct, frozen=True):
    """Energy of GPUs in the last hour, as workers measured it, of all revisions that are open."""

    seconds: float
    """Time that it covers."""
    requests_j: float
    idle_j: float
    """While no request ran."""
    outputs: int
    """Those that were measured."""
    tokens: int
    """Of these."""
    per_1000_requests_j: float | None
    """Without idle energy; None: no output was measured."""
    per_1000_requests_with_idle_j: float | None
    per_1000_tokens_j: float | None
    """Without idle energy; None: no tokens are reported."""
    per_1000_requests_usd: float | None
    """Energy price of that with idle energy; None: the site has no tariff."""


class ServiceView(msgspec.Struct, frozen=True):
    """A service."""

    name: str
    owner: str
    revision: JobId
    """The job that serves; during a rollout the old one."""
    replicas: ReplicasView
    workers: tuple[WorkerView, ...]
    """Of all revisions, by task."""
    state: str
    """Of the job that serves."""
    reason: str
    """Why that job is in its state, as in lists of jobs."""
    rollout: str
    """Phase of the rollout in progress; empty = none."""
    next_revision: JobId | None
    """The new one of that rollout."""
    energy: EnergyView | None = None
    """None: not measured."""
    slo: SloView | None = None
    """None: it has none."""
    watts: WattsView | None = None
    """None: it has no SLO, or no GPU."""
    requests_per_s: float | None = None
    """Of the last minute that is over, and of the one in progress; None = not known."""


class RuleView(msgspec.Struct, frozen=True):
    """A rule of a route, with what gateways have counted since the scheduler started or the route
    was declared."""

    rule: int
    """From 1; 0: the default."""
    when: str
    """Its conditions."""
    to: str
    """Target."""
    requests: int = 0
    kept: int = 0
    """Of a cascade: inputs that the small service answered with confidence."""
    escalated: int = 0
    """Those that the large one answered."""
    failed: int = 0
    """Those that the large one should have answered, and did not."""


class RouteView(msgspec.Struct, frozen=True):
    """A route."""

    name: str
    owner: str
    """Empty: it is of the site file."""
    services: tuple[str, ...]
    """Those behind it."""
    rules: tuple[RuleView, ...]
    """In order, then the default; none in a list of all."""
    note: str = ""
    """Problem of the route; empty = none."""


class Services(msgspec.Struct, frozen=True, tag_field="t", tag="services"):
    services: tuple[ServiceView, ...]
    routes: tuple[RouteView, ...] = ()


ServiceRequest = RolloutRequest | ListServices | LogRequest | RouteRequest | GetCapacity
ServiceAnswer = RolloutNow | Services | LogAnswer | CapacityView
