"""Everything the scheduler knows, as one value that the handlers of this package work on."""

from dataclasses import dataclass, field

from wattline_protocol.ids import DomainId, Epoch, Instant, JobId, NodeId, TaskRef, UnixTime
from wattline_protocol.site.model import Site
from wattline_scheduler.core.model.calendar import Calendar
from wattline_scheduler.core.model.jobs.job_index import Workload
from wattline_scheduler.core.model.journal import Journal
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.power_off_attempts import OffTries
from wattline_scheduler.core.model.problem_book import Problems
from wattline_scheduler.core.model.usage.usage_ledger import Ledger
from wattline_scheduler.plan.model.reserved_nodes import Reservations
from wattline_scheduler.plan.model.shape import GangKey, Shape
from wattline_scheduler.plan.model.snapshot import Snapshot
from wattline_scheduler.plan.search.fleet_view import Picture
from wattline_scheduler.power.allocation.binding_rows import Binding
from wattline_scheduler.power.allocation.fleet_columns import Fleet
from wattline_scheduler.power.allocation.lease_pacing import Pace
from wattline_scheduler.power.books.books import Books
from wattline_scheduler.power.demand.demand import Demand
from wattline_scheduler.power.sensing.cooling import ZoneNow
from wattline_scheduler.power.sensing.meters import MeterNow
from wattline_scheduler.power.sensing.thermal import Thermal
from wattline_scheduler.power.topology.domains import Domains
from wattline_scheduler.records import (
    LimitRecord,
    MemberRecord,
    MeterRecord,
    ReservationRecord,
)


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A node's words that the books cannot explain, until its Hello."""

    since: Instant
    claims_epoch: bool
    """It says that it has met a later epoch than this one."""


@dataclass(slots=True)
class Overrun:
    """Why a domain is committed above its budget, which only named causes may bring about (I4)."""

    since: Instant
    since_unix_s: UnixTime
    cause: str
    is_shed: bool = False
    """A budget was lowered: pause at once where floors do not suffice."""
    is_start: bool = False
    """A new run has not heard all nodes yet: said once for all domains, and its end not at all."""
    marked_mw: int = 0
    """How far above its budget the domain was at `marked_at`."""
    marked_at: Instant | None = None
    """When that last changed by so much that something is happening."""


@dataclass(slots=True)
class Claim:
    """Nodes that are being made free for a gang of higher priority."""

    nodes: tuple[NodeId, ...]
    victims: tuple[GangKey, ...]
    """Who has to go."""
    free_since: Instant | None = None
    """When the last of them was found gone."""


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
    """What the allocator sees of each node."""
    pace: Pace
    binding: Binding
    """Which row keeps which node below what it would use."""
    demand: Demand
    nodes: dict[NodeId, NodeNow]
    work: Workload
    journal: Journal
    next_job: JobId
    calendar: Calendar
    ledger: Ledger
    """What accounts and queues used."""
    picture: Picture
    """How the planner sees the site, but for the nodes in `outdated`."""
    outdated: dict[NodeId, None]
    overruns: dict[DomainId, Overrun] = field(default_factory=dict)
    off_tries: OffTries = field(default_factory=OffTries)
    """Hosts that are being switched off without their agents."""
    problems: Problems = field(default_factory=Problems)
    """Conditions that began and have not ended; see `core.problems`."""
    limits: dict[tuple[DomainId, str], LimitRecord] = field(default_factory=dict)
    """Limits that are not over, by domain and name; those begun are in `domains` too."""
    reservations: dict[str, ReservationRecord] = field(default_factory=dict)
    """Those that are not over, by name."""
    reserved: Reservations | None = None
    """The same as the planner sees them; None = to be made anew."""
    meters: dict[DomainId, MeterNow] = field(default_factory=dict)
    """Of every domain that has one in the site file."""
    zones: dict[DomainId, ZoneNow] = field(default_factory=dict)
    """Of every cooling zone of whose plant the site file says anything."""
    meter_records: dict[DomainId, MeterRecord] = field(default_factory=dict)
    """What is on disk of meters."""
    thermal: Thermal = field(default_factory=Thermal)
    is_disk_low: bool = False
    """Less is free beside the store than the reserve: nothing new is taken."""
    disk_room_bytes: int | None = None
    """What was free above the reserve, less what was taken since; None = nobody has looked."""
    is_recovering: bool = False
    """A backup was restored: nothing starts until `unknown` and `strays` are empty."""
    unknown: set[NodeId] = field(default_factory=set)
    """Nodes that were not heard since, and are not off."""
    strays: dict[TaskRef, NodeId] = field(default_factory=dict)
    """What runs there without being on record."""
    attempt_floor: int = 0
    numbers_lost: JobId | None = None
    """Below it lie the jobs that the store may have lost; None = no agent has named one."""
    members: dict[str, MemberRecord] = field(default_factory=dict)
    """Who was on the allow-list when it was looked at last."""
    shares_at: Instant | None = None
    """When the use of live tries was last added up."""
    sensed_at: Instant | None = None
    """When meters and zones were last looked at."""
    contradicted: dict[NodeId, Contradiction] = field(default_factory=dict)
    """Nodes whose reports disagree with the books: no growth in their domains (I9)."""
    short_mw: dict[DomainId, int] = field(default_factory=dict)
    """Domains whose floors alone do not fit, by the newest rebalancing, and by how much."""
    short_since: dict[DomainId, Instant] = field(default_factory=dict)
    missing_since: dict[int, Instant] = field(default_factory=dict)
    """Rows in which what jobs must keep does not fit, and since when."""
    wants_plan: bool = False
    wants_rebalance: bool = False
    wants_advance: bool = False
    """Watts were acknowledged that gangs on other nodes may wait for."""
    wants_room: bool = False
    """Demand rose where its watts are lent out: what is acknowledged is given out at once."""
    rebalanced_at: Instant | None = None
    verdicts: dict[Shape, str] = field(default_factory=dict)
    """Of `judge.impossible`, until something changes what nodes have."""
    verdicts_inside: dict[tuple[str, Shape], str] = field(default_factory=dict)
    """The same of `inside`, by the reservation's name."""
    whole: Snapshot | None = None
    """What those were found on; None = to be made anew."""
    gateway_public_key: str = ""
    """With which services' workers know the gateway; the shell reads it from the allow-list."""
    claims: dict[GangKey, Claim] = field(default_factory=dict)
    """By the gang that others are making room for."""
    promised: dict[JobId, Instant] = field(default_factory=dict)
    """Jobs for which the newest plan keeps room, and when it will be free; infinite = not known."""

    def forget_verdicts(self) -> None:
        """What nodes have has changed."""
        self.verdicts.clear()
        self.verdicts_inside.clear()
        self.whole = None
