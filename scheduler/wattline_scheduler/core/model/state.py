"""The complete state of the scheduler, one value that all handlers of this package work on."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wattline_protocol.ids import (
    DomainId,
    Epoch,
    Instant,
    JobId,
    NodeId,
    TaskRef,
    UnixTime,
    UserName,
)
from wattline_protocol.site.model import Site
from wattline_scheduler.core.model.api_key_book import ApiKeyBook
from wattline_scheduler.core.model.calendar import Calendar
from wattline_scheduler.core.model.data.data_book import DataBook
from wattline_scheduler.core.model.jobs.job_index import Workload
from wattline_scheduler.core.model.jobs.notification_book import NotificationBook
from wattline_scheduler.core.model.jobs.scaled_service import Scaling
from wattline_scheduler.core.model.journal import Journal
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.power_off_attempts import OffAttempts
from wattline_scheduler.core.model.problem_book import Problems
from wattline_scheduler.core.model.route_book import RouteBook
from wattline_scheduler.core.model.service_energy import ServiceEnergy
from wattline_scheduler.core.model.service_traffic import GatewayTraffic, LoadClock, Rollout
from wattline_scheduler.core.model.usage.usage_ledger import Ledger
from wattline_scheduler.plan.cycle import Cycle
from wattline_scheduler.plan.model.reserved_nodes import Reservations
from wattline_scheduler.plan.model.shape import GangKey, Shape
from wattline_scheduler.plan.model.snapshot import AT_START, LONG_AGO, Snapshot
from wattline_scheduler.plan.search.fleet_view import FleetView
from wattline_scheduler.power.allocation.binding_rows import Binding
from wattline_scheduler.power.allocation.fleet_columns import Fleet
from wattline_scheduler.power.allocation.lease_pacing import Pace
from wattline_scheduler.power.books.books import Books
from wattline_scheduler.power.demand.demand import Demand
from wattline_scheduler.power.scaling.service_minutes import ServiceMinutes
from wattline_scheduler.power.sensing.cooling import ZoneNow
from wattline_scheduler.power.sensing.meters import MeterNow
from wattline_scheduler.power.sensing.thermal import Thermal
from wattline_scheduler.power.topology.domains import Domains
from wattline_scheduler.records import LimitRecord, MemberRecord, MeterRecord, ReservationRecord


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A contradiction between a node and the books, until its Hello."""

    since: Instant
    text: str
    """What it does, as in `reports 65 GPUs`."""
    claims_epoch: bool
    """It claims to have seen a later epoch than this one."""


@dataclass(slots=True)
class Overrun:
    """Cause of a domain's commitment above its budget; only named causes are legal (I4)."""

    since: Instant
    since_unix_s: UnixTime
    cause: str
    is_shed: bool = False
    """A budget was lowered: pause at once where floors do not suffice."""
    is_start: bool = False
    """A new run has not heard all nodes yet: reported once for all domains, its end not at all."""
    marked_mw: int = 0
    """Excess above the budget at `marked_at`."""
    marked_at: Instant | None = None
    """Time of the last change of the excess that counts as progress."""


@dataclass(frozen=True, slots=True)
class PauseAhead:
    """A budget that will fall so far that a gang is paused."""

    at: Instant
    is_scheduled: bool
    """By a schedule of the site file."""
    why: str


@dataclass(slots=True)
class Claim:
    """Nodes reserved for a preempting gang while its victims end."""

    nodes: tuple[NodeId, ...]
    victims: tuple[GangKey, ...]
    """Preempted gangs."""
    free_since: Instant | None = None
    """Time at which the last of them was found ended."""


@dataclass(slots=True)
class State:
    """Plain data; changed only while `Cluster.handle` runs."""

    site: Site
    epoch: Epoch
    instance: str
    started_at: Instant
    domains: Domains
    books: Books
    fleet: Fleet
    """Loads of nodes for the allocator."""
    pace: Pace
    binding: Binding
    """The row that limits each node below its demand."""
    demand: Demand
    nodes: dict[NodeId, NodeNow]
    work: Workload
    journal: Journal
    next_job: JobId
    calendar: Calendar
    ledger: Ledger
    """Usage of accounts and queues."""
    fleet_view: FleetView
    """The planner's view of the fleet, current except for the nodes in `outdated`."""
    outdated: dict[NodeId, None]
    newest_cycle: Cycle | None = None
    """The newest planning cycle: its plan has the memory for the next one."""
    overruns: dict[DomainId, Overrun] = field(default_factory=dict)
    off_attempts: OffAttempts = field(default_factory=OffAttempts)
    """Attempts to power hosts off without their agents."""
    problems: Problems = field(default_factory=Problems)
    """Open problems; see `core.model.problems`."""
    limits: dict[tuple[DomainId, str], LimitRecord] = field(default_factory=dict)
    """Limits that are not over, by domain and name; those begun are in `domains` too."""
    reservations: dict[str, ReservationRecord] = field(default_factory=dict)
    """Those that are not over, by name."""
    reserved: Reservations | None = None
    """The same in the planner's form, cached; None = outdated."""
    api_keys: ApiKeyBook = field(default_factory=ApiKeyBook)
    """Of HTTP clients."""
    routes: RouteBook = field(init=False)
    notifications: NotificationBook = field(default_factory=NotificationBook)
    data: DataBook = field(default_factory=DataBook)
    """Data sets and models."""
    meters: dict[DomainId, MeterNow] = field(default_factory=dict)
    """Of every domain with a meter in the site file."""
    zones: dict[DomainId, ZoneNow] = field(default_factory=dict)
    """Of every cooling zone with plant in the site file."""
    meter_records: dict[DomainId, MeterRecord] = field(default_factory=dict)
    """Saved state of meters."""
    thermal: Thermal = field(default_factory=Thermal)
    is_disk_low: bool = False
    """Less is free beside the store than the reserve: new work is refused."""
    disk_free_bytes: int | None = None
    """Free space above the reserve, less what was accepted since; None = not measured yet."""
    is_recovering: bool = False
    """A backup was restored: nothing starts until `unknown` and `strays` are empty."""
    unknown: set[NodeId] = field(default_factory=set)
    """Nodes that were not heard since, and are not off."""
    strays: dict[TaskRef, NodeId] = field(default_factory=dict)
    """Unrecorded tasks on nodes."""
    attempt_floor: int = 0
    numbers_lost: JobId | None = None
    """Upper bound of job numbers that the store may have lost; None = no agent has named one."""
    members: dict[str, MemberRecord] = field(default_factory=dict)
    """The allow-list as last seen."""
    shares_at: Instant | None = None
    """Time of the last sum over the use of live tries."""
    rollouts: dict[str, Rollout] = field(default_factory=dict)
    """The newest rollout of each service."""
    traffic: dict[str, GatewayTraffic] = field(default_factory=dict)
    """Newest reports of gateways, by their names."""
    load_clock: LoadClock = field(default_factory=LoadClock)
    energy: ServiceEnergy = field(default_factory=ServiceEnergy)
    """Of services, as workers measure it."""
    service_minutes: dict[str, ServiceMinutes] = field(default_factory=dict)
    """Load of services by name, open ones and some that have ended."""
    histories_wanted: dict[tuple[str, UserName], None] = field(default_factory=dict)
    """Services and owners whose load on record is not in memory, in the order in which the shell
    reads them."""
    scaling: dict[JobId, Scaling] = field(default_factory=dict)
    """Of jobs that serve with an SLO."""
    sensed_at: Instant | None = None
    """Time of the last evaluation of meters and zones."""
    contradicted: dict[NodeId, Contradiction] = field(default_factory=dict)
    """Nodes whose reports disagree with the books: no growth in their domains (I9)."""
    reshaped: dict[NodeId, Instant] = field(default_factory=dict)
    """Nodes whose GPUs have other weights than their newest lease knows, and until when their
    leases follow without a dead band."""
    short_mw: dict[DomainId, int] = field(default_factory=dict)
    """Domains whose floors alone do not fit, by the newest rebalancing, with their shortfall."""
    short_since: dict[DomainId, Instant] = field(default_factory=dict)
    missing_since: dict[int, Instant] = field(default_factory=dict)
    """Rows in which useful caps do not fit, and since when."""
    looks_for_room_at: Instant = AT_START
    """When gangs of a range of nodes are looked at again."""
    pauses_ahead: dict[GangKey, PauseAhead] = field(default_factory=dict)
    """Pauses that budgets will cause, by the limits and the demand of the newest heartbeat."""
    forecast_at: Instant = AT_START
    """Time of the newest forecast of them."""
    displaces_at: Instant = AT_START
    """When pausing work for a paused gang of higher priority is examined again."""
    resumes_first: tuple[GangKey, Instant] | None = None
    """The gang for which others were paused, and until when none after it resumes."""
    listings: int = 0
    """Versions put onto lists of nodes in this run."""
    holding: dict[NodeId, None] = field(default_factory=dict)
    """Nodes whose list of data to hold is not empty."""
    stalled: dict[str, Instant] = field(default_factory=dict)
    """Manifests that a node could not fetch, and until when jobs that read them come last."""
    wants_staging: bool = False
    """Data of pending jobs, or what nodes have of it, has changed."""
    staged_at: Instant = LONG_AGO
    wants_plan: bool = False
    wants_rebalance: bool = False
    wants_advance: bool = False
    """Watts were acknowledged that gangs on other nodes may wait for."""
    wants_headroom: bool = False
    """Demand rose where its watts are lent out: acknowledged watts are granted at once."""
    rebalanced_at: Instant | None = None
    verdicts: dict[Shape, str] = field(default_factory=dict)
    """Of `satisfiability.impossible`, until the hardware or labels of a node change."""
    verdicts_inside: dict[tuple[str, Shape], str] = field(default_factory=dict)
    """The same of `reservation_fit`, by the reservation's name."""
    whole: Snapshot | None = None
    """The snapshot they are based on; None = outdated."""
    gateway_keys: Mapping[str, str] = field(default_factory=dict)
    """Identify the gateways, by name, to services' workers; the shell reads the allow-list."""
    claims: dict[GangKey, Claim] = field(default_factory=dict)
    """By the preempting gang."""
    promised: dict[JobId, Instant] = field(default_factory=dict)
    """Promised starts of jobs with resources reserved by the newest plan; infinite = unknown."""

    def __post_init__(self) -> None:
        self.routes = RouteBook(self.work.services)

    def forget_verdicts(self) -> None:
        """Clears verdicts when the hardware of a node has changed."""
        self.verdicts.clear()
        self.verdicts_inside.clear()
        self.whole = None
