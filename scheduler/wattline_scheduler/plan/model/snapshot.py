"""Input and output of the planner: nodes, headroom and pending gangs; placements. Plain data.

Decisions are based on `Snapshot.columns`; offers and names of rows are for display.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from wattline_protocol.ids import DomainId, GpuIndex, Instant, JobId, NodeId
from wattline_protocol.site.labels import Labels
from wattline_protocol.site.model import DomainKind, Weights
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.plan.mix.fragmentation import Prices
from wattline_scheduler.plan.model.columns import PRIORITY_LEVELS, Columns
from wattline_scheduler.plan.model.memory import EMPTY, Memory
from wattline_scheduler.plan.model.reserved_nodes import Reservations
from wattline_scheduler.plan.model.shape import GangKey, Waiting
from wattline_scheduler.power.books.watt_admission import Booking
from wattline_scheduler.power.topology.matrix import Bools

DEFAULT_WEIGHTS = Weights()


@dataclass(frozen=True, slots=True)
class Part:
    """A GPU with partial allocations."""

    gpu: GpuInfo
    free_milli: int
    counts_mw: int
    """Watts admitted for its holders; one more adds only its excess over that."""


@dataclass(frozen=True, slots=True)
class NodeOffer:
    """Free resources of a node."""

    node: NodeId
    rack: str
    closed: str
    """Why no task may be placed here, for display; empty = open."""
    gpus: tuple[GpuInfo, ...]
    """All managed, healthy GPUs; one in MIG mode is replaced by its devices (`devices`)."""
    free: tuple[GpuInfo, ...]
    """Those without an allocation, on GPUs in use first, then the coolest first."""
    cpus: int
    cpus_free: int
    memory_bytes: int
    memory_free_bytes: int
    booking: Booking
    parts: tuple[Part, ...] = ()
    """Partially allocated GPUs, by index."""
    not_offered: tuple[str, ...] = ()
    """GPUs used by foreign processes or cordoned, as text; they are not in `free` and `parts`."""
    warmth: int = 0
    """Warmth of its free GPUs at full power above comfort, in steps of some °C."""
    least_priority: int = PRIORITY_LEVELS
    """Lowest priority running there; `ENDING_PRIORITY` for work about to end."""
    labels: Labels = frozenset()
    ends: tuple[tuple[GpuIndex, Instant], ...] = ()
    """Known ends of allocated GPUs."""
    endless: tuple[GpuIndex, ...] = ()
    """GPUs allocated to services, which end only on request."""


@dataclass(frozen=True, slots=True)
class RowName:
    """Display names of one row: a domain in one case."""

    domain: DomainId
    name: str
    """Display name: the domain, and the loss that the case assumes."""
    kind: DomainKind


@dataclass(frozen=True, slots=True)
class QuotaHeadroom:
    """A quota and its use. For GPUs and watts, 0 is no limit."""

    name: str
    """Display name: `account research`."""
    most_milli: int = 0
    """Limit on allocated thousandths of GPUs."""
    used_milli: int = 0
    most_mw: int = 0
    """Limit on watts booked for GPUs, at the wall."""
    used_mw: int = 0
    closed: str = ""
    """Why no job of it may start, for display; empty = it may."""
    reserved_milli: int = 0
    """The part of its use that is reserved for gangs about to start."""
    reserved_mw: int = 0


@dataclass(frozen=True, slots=True)
class TaskAllocation:
    """Allocation of one running task."""

    at: int
    """Position of its node."""
    gpus: tuple[GpuIndex, ...]
    counts_mw: tuple[int, ...]
    """Watts counted for each of them above idle draw, before the power supplies."""
    milli: int
    """Thousandths of each of them."""
    cpus: int
    memory_bytes: int


AT_START, LONG_AGO = Instant(0.0), Instant(-math.inf)


@dataclass(frozen=True, slots=True)
class RunningGang:
    """A running gang that may be preempted by one of higher priority."""

    key: GangKey
    priority: int
    lost_gpu_s: float
    """Work of this attempt at `since`; progress saved since is not known here."""
    tasks: tuple[TaskAllocation, ...]
    quotas: tuple[int, ...] = ()
    """Quotas that count it: positions in `Snapshot.quotas`. The amounts: as in `QuotaHeadroom`."""
    quota_milli: int = 0
    quota_mw: int = 0
    since: Instant = AT_START
    growing_gpus: int = 0
    """GPUs that add to its work as long as it runs; 0 while it does not."""
    protected_until: Instant = LONG_AGO
    """It started recently: it is not preempted before."""

    def as_of(self, now: Instant) -> "RunningGang":
        """The same with its work until now."""
        if not self.growing_gpus:
            return self
        lost_gpu_s = self.lost_gpu_s + self.growing_gpus * (now - self.since)
        return replace(self, lost_gpu_s=lost_gpu_s, since=now)

    def is_on(self, nodes: Collection[int]) -> bool:
        """Whether it has an allocation on one of these nodes, by position."""
        return any(task.at in nodes for task in self.tasks)

    def counts_in(self, quotas: Collection[int]) -> bool:
        """Whether any of these counts it."""
        return any(number in quotas for number in self.quotas)


ENDING_PRIORITY = -1
"""Priority of work already ending: preempted before all others, at no loss."""


@dataclass(frozen=True, slots=True)
class Preemption:
    """Gangs to preempt for another, and the nodes for that one."""

    gang: GangKey
    victims: tuple[GangKey, ...]
    nodes: tuple[NodeId, ...]
    quotas: tuple[int, ...] = ()
    """Quotas without headroom for it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The planner's complete input. A plan is tried on a copy of the columns."""

    now: Instant
    nodes: tuple[NodeOffer, ...]
    position: Mapping[NodeId, int]
    """Position of each node in `nodes` and in the columns."""
    rows: tuple[RowName, ...]
    columns: Columns
    waiting: tuple[Waiting, ...]
    """In queue order."""
    claims: Mapping[GangKey, tuple[NodeId, ...]] = field(default_factory=dict)
    """Nodes of gangs that wait for preempted work to end."""
    running: tuple[tuple[RunningGang, ...], ...] = ()
    """Gangs on each node whose end would free resources; empty if no pending gang may preempt."""
    preempts_protected: bool = False
    """Whether gangs are preempted that started recently: for estimates."""
    least_priority: int = PRIORITY_LEVELS
    """Lowest priority with allocated GPUs: a gang not above it cannot preempt."""
    prices: "Prices | None" = None
    """Prices of places for the task mix; None: no mix is known."""
    weights: Weights = DEFAULT_WEIGHTS
    quotas: tuple[QuotaHeadroom, ...] = ()
    reservations: Reservations | None = None
    """None: no reservations."""
    data: Mapping[str, Bools] = field(default_factory=dict)
    """[node] has it, for each version that any gang reads, and an output slot for each user; no
    node has another."""


@dataclass(frozen=True, slots=True)
class TaskPlace:
    """Placement of one task of a gang."""

    node: NodeId
    gpus: tuple[GpuIndex, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """Placement of a whole gang, by rank."""

    job: JobId
    gang: int
    tasks: tuple[TaskPlace, ...]


FilterName = Literal[
    "state",
    "labels",
    "gpu type",
    "gpu memory",
    "gpus",
    "cpus",
    "memory",
    "watts",
    "cooling",
    "rack",
    "gang",
    "data",
    "reservation",
]


@dataclass(frozen=True, slots=True)
class Plan:
    """Placements in order, and why the rest waits."""

    placements: tuple[Placement, ...]
    waits: dict[JobId, str]
    """Display reason for jobs that were evaluated and do not fit."""
    promised: dict[JobId, Instant]
    """Jobs with a promise, and when its resources will be free; infinite = unknown."""
    is_cut: bool
    """True: stopped at a limit; more may be placeable."""
    effort: int = 0
    """Steps of work used; see `Trial.effort`."""
    preemptions: tuple[Preemption, ...] = ()
    memory: Memory = EMPTY
    """For the next cycle."""
