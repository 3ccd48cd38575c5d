"""What the planner sees, and what it answers: nodes, rooms and waiting gangs; placements.

What decides is in `Snapshot.columns`; offers and names of rows are for what people read.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from wattline_protocol.ids import DomainId, GpuIndex, Instant, JobId, NodeId
from wattline_protocol.site.labels import Labels
from wattline_protocol.site.model import DomainKind, Weights
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.plan.mix.fragmentation import Prices
from wattline_scheduler.plan.model.columns import PRIORITY_LEVELS, Columns
from wattline_scheduler.plan.model.reserved_nodes import Reservations
from wattline_scheduler.plan.model.shape import GangKey, Waiting
from wattline_scheduler.power.books.watt_admission import Kept

DEFAULT_WEIGHTS = Weights()


@dataclass(frozen=True, slots=True)
class Part:
    """A GPU of which attempts hold a part only."""

    gpu: GpuInfo
    free_milli: int
    counts_mw: int
    """What must be found for its holders; one more adds only what it needs beyond that."""


@dataclass(frozen=True, slots=True)
class NodeOffer:
    """What a node has left."""

    node: NodeId
    rack: str
    closed: str
    """Why no task may be placed here, in plain words; empty = open."""
    gpus: tuple[GpuInfo, ...]
    """All managed, healthy GPUs; in place of one in MIG mode its devices (`devices`)."""
    free: tuple[GpuInfo, ...]
    """Those of them that no attempt holds, of GPUs in use and then of the coolest first."""
    cpus: int
    cpus_free: int
    memory_bytes: int
    memory_free_bytes: int
    kept: Kept
    parts: tuple[Part, ...] = ()
    """GPUs that are held in part, by index."""
    in_use: tuple[str, ...] = ()
    """GPUs that foreign processes use, each in words; they are not among `free` and `parts`."""
    warmth: int = 0
    """How far its free GPUs would be above comfort at full power, in steps of some °C."""
    least_priority: int = PRIORITY_LEVELS
    """Of all that runs there; `ENDING_PRIORITY` of what is about to end."""
    labels: Labels = frozenset()
    ends: tuple[tuple[GpuIndex, Instant], ...] = ()
    """When those that are held will be free, as far as that is known."""
    endless: tuple[GpuIndex, ...] = ()
    """Those that services hold, which end only when somebody wants it."""


@dataclass(frozen=True, slots=True)
class RowName:
    """What is told of one row: a domain in one case."""

    domain: DomainId
    name: str
    """For people: the domain, and the loss that the case is about."""
    kind: DomainKind


@dataclass(frozen=True, slots=True)
class QuotaRoom:
    """A quota, and what is used of it. Of GPUs and watts 0 is no limit."""

    name: str
    """For people: `account research`."""
    most_milli: int = 0
    """Thousandths of GPUs at a time."""
    used_milli: int = 0
    most_mw: int = 0
    """Booked for GPUs at a time, at the wall."""
    used_mw: int = 0
    closed: str = ""
    """Why nothing of it may start, in plain words; empty = it may."""
    kept_milli: int = 0
    """Of what is used: what nobody holds yet, but is kept for gangs that are to start."""
    kept_mw: int = 0


@dataclass(frozen=True, slots=True)
class TaskAllocation:
    """What one task of running work holds."""

    at: int
    """Position of its node."""
    gpus: tuple[GpuIndex, ...]
    counts_mw: tuple[int, ...]
    """What is counted for each of them above its idle draw, before the power supplies."""
    milli: int
    """Thousandths of each of them."""
    cpus: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class RunningGang:
    """A gang that holds nodes and may be sent back to the queue for one of higher priority."""

    key: GangKey
    priority: int
    lost_gpu_s: float
    """Work of this try; what it has saved since is not known here."""
    tasks: tuple[TaskAllocation, ...]
    quotas: tuple[int, ...] = ()
    """Those that count it: positions in `Snapshot.quotas`; and how much, as `QuotaRoom` has it."""
    quota_milli: int = 0
    quota_mw: int = 0

    def is_on(self, nodes: Collection[int]) -> bool:
        """Whether it holds something on one of these, by position."""
        return any(task.at in nodes for task in self.tasks)

    def counts_in(self, quotas: Collection[int]) -> bool:
        """Whether any of these counts it."""
        return any(number in quotas for number in self.quotas)


ENDING_PRIORITY = -1
"""Priority of who is about to end anyhow: sent away before all others, for nothing is lost."""


def nobody(number: int) -> Sequence[RunningGang]:
    """There is nobody who may be sent away."""
    del number
    return ()


@dataclass(frozen=True, slots=True)
class Preemption:
    """Gangs that are to go so that another fits, and the nodes that it is to have."""

    gang: GangKey
    victims: tuple[GangKey, ...]
    nodes: tuple[NodeId, ...]
    quotas: tuple[int, ...] = ()
    """Those in which there was no room for it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a plan is a function of. Who plans tries on a copy of the columns."""

    now: Instant
    nodes: tuple[NodeOffer, ...]
    position: Mapping[NodeId, int]
    """Of each node in `nodes` and in the columns."""
    rows: tuple[RowName, ...]
    columns: Columns
    waiting: tuple[Waiting, ...]
    """In the order of the queue."""
    claims: Mapping[GangKey, tuple[NodeId, ...]] = field(default_factory=dict)
    """Nodes of those that wait until others, which were told to, have gone."""
    busy_on: Callable[[int], Sequence[RunningGang]] = nobody
    """Who may be sent away from the node at a position; asked only where somebody of higher
    priority does not fit."""
    busy_in: Callable[[int], Sequence[RunningGang]] = nobody
    """The same of those that count in a quota, the lowest priority first; asked only where it keeps
    somebody of higher priority from starting."""
    least_priority: int = PRIORITY_LEVELS
    """Of all that holds GPUs: who is not above it need not ask."""
    prices: "Prices | None" = None
    """What places are worth to the mix of tasks; None: no mix is known."""
    weights: Weights = DEFAULT_WEIGHTS
    quotas: tuple[QuotaRoom, ...] = ()
    reservations: Reservations | None = None
    """None: nobody has reserved anything."""


@dataclass(frozen=True, slots=True)
class TaskPlace:
    """Where one task of a gang goes."""

    node: NodeId
    gpus: tuple[GpuIndex, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """A whole gang, by rank."""

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
    "reservation",
]


@dataclass(frozen=True, slots=True)
class Plan:
    """Placements in order, and why the rest waits."""

    placements: tuple[Placement, ...]
    waits: dict[JobId, str]
    """For jobs that were looked at and do not fit: the reason in plain words."""
    promised: dict[JobId, Instant]
    """Jobs that waited so long that room is being kept for them, and when it will be free; infinite
    = not known."""
    is_cut: bool
    """True: stopped at a limit; more may be placeable."""
    effort: int = 0
    """Steps of work that it took; see `Trial.effort`."""
    preemptions: tuple[Preemption, ...] = ()
