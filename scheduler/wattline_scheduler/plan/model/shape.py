"""What jobs ask of the planner: the shape of a gang, and the jobs that wait with gangs to start."""

from collections.abc import Hashable
from dataclasses import dataclass, field

from wattline_protocol.ids import Instant, JobId, NodeId
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.site.labels import Labels
from wattline_scheduler.plan.model.reserved_nodes import Stay
from wattline_scheduler.power.demand.useful_cap import Need, need_of

GangKey = tuple[JobId, int]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a gang needs; equal shapes are interchangeable to the planner."""

    nodes: int
    gpus: int
    """Per node, as are all below."""
    gpu_milli: int
    """Thousandths of each of them; less than 1000 only of a single one."""
    mig: str
    """Profile of the MIG device that it wants instead of a GPU; empty = a GPU."""
    gpu_type: tuple[str, ...]
    gpu_memory_min_bytes: int
    cpus: int
    memory_bytes: int
    need: Need
    same_rack: bool
    labels: Labels
    """Each node has all of them."""
    priority: int
    """Work of lower priority gives way to it where only watts are missing."""
    gpu_demand: Hashable = field(init=False, repr=False, compare=False)
    """What a task asks of a node, but for CPUs and memory."""
    task: Hashable = field(init=False, repr=False, compare=False)
    """All that a task asks of a node; gangs of any size and priority ask the same."""
    _hash: int = field(init=False, repr=False, compare=False)
    """Shapes are looked up for every waiting job in every cycle."""

    def __post_init__(self) -> None:
        gpus = (self.gpus, self.gpu_milli, self.mig, self.gpu_type, self.gpu_memory_min_bytes)
        gpu_demand = (*gpus, self.need, self.labels)
        task = (gpu_demand, self.cpus, self.memory_bytes)
        object.__setattr__(self, "gpu_demand", gpu_demand)
        object.__setattr__(self, "task", task)
        object.__setattr__(self, "_hash", hash((task, self.nodes, self.same_rack, self.priority)))

    def __hash__(self) -> int:
        return self._hash


def shape_of(spec: JobSpec) -> Shape:
    """The planner's view of a job. A task without GPUs takes one CPU."""
    r = spec.resources
    return Shape(
        nodes=r.nodes,
        gpus=r.gpus_per_node,
        gpu_milli=r.gpu_share_permille,
        mig=r.mig,
        gpu_type=tuple(word.lower() for word in r.gpu_type),
        gpu_memory_min_bytes=r.gpu_memory_min_bytes,
        cpus=r.cpus_per_gpu * r.gpus_per_node if r.gpus_per_node else 1,
        memory_bytes=r.memory_bytes,
        need=need_of(spec),
        same_rack=r.same_rack,
        labels=frozenset(r.labels.items()),
        priority=spec.priority,
    )


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job with gangs that may start now."""

    job: JobId
    priority: int
    since: Instant
    """When the oldest of them began to wait."""
    shape: Shape
    gangs: tuple[int, ...]
    """Numbers, in the order in which they start; as many as may start now."""
    is_late: bool = False
    """It cannot be done by its deadline any more: no room is kept for it."""
    replicas: tuple[NodeId, ...] | None = None
    """Nodes of those that run; None: it is no service."""
    runs_s: float | None = None
    """How long a gang of it runs at most; None: not known."""
    quotas: tuple[int, ...] = ()
    """Those that count it: positions in `Snapshot.quotas`."""
    reservation: str = ""
    """In which it starts; empty = in none."""
    stay: Stay = field(init=False, repr=False, compare=False)
    """Which nodes reservations leave it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "stay", Stay(self.reservation, self.runs_s))
