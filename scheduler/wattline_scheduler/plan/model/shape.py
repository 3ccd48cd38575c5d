"""Requests to the planner: the shape of a gang, and pending jobs with gangs to start."""

from dataclasses import dataclass, field, replace
from typing import Any

from wattline_protocol.ids import Instant, JobId, NodeId
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.site.labels import Labels, launcher_labels
from wattline_scheduler.plan.model.reserved_nodes import Data, Stay
from wattline_scheduler.power.demand.useful_cap import Need, need_of

GangKey = tuple[JobId, int]


@dataclass(frozen=True, slots=True)
class Shape:
    """Requirements of a gang; equal shapes are interchangeable to the planner."""

    nodes: int
    gpus: int
    """Per node, as are all below."""
    gpu_milli: int
    """Thousandths of each of them; less than 1000 only for a single one."""
    mig: str
    """Profile of the MIG device requested instead of a GPU; empty = a GPU."""
    gpu_type: tuple[str, ...]
    gpu_memory_min_bytes: int
    cpus: int
    memory_bytes: int
    need: Need
    same_rack: bool
    labels: Labels
    """Each node has all of them; the launcher is one where not every node has it."""
    priority: int
    """Work of lower priority yields its watts to it."""
    most_nodes: int = 0
    """It takes up to so many where there are; `nodes` suffice. 0 = `nodes`."""
    gpu_demand: Any = field(init=False, repr=False, compare=False)
    """A task's request of a node, except CPUs and memory; hashable, as the next."""
    task: Any = field(init=False, repr=False, compare=False)
    """A task's whole request of a node; equal for gangs of any size and priority."""
    _hash: int = field(init=False, repr=False, compare=False)
    """Cached: shapes are looked up for every pending job in every cycle."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "most_nodes", max(self.nodes, self.most_nodes))
        gpus = (self.gpus, self.gpu_milli, self.mig, self.gpu_type, self.gpu_memory_min_bytes)
        gpu_demand = (*gpus, self.need, self.labels)
        task = (gpu_demand, self.cpus, self.memory_bytes)
        object.__setattr__(self, "gpu_demand", gpu_demand)
        object.__setattr__(self, "task", task)
        size = (self.nodes, self.most_nodes)
        object.__setattr__(self, "_hash", hash((task, size, self.same_rack, self.priority)))

    def __hash__(self) -> int:
        return self._hash

    def resized(self, nodes: int, most_nodes: int) -> "Shape":
        """The same on other numbers of nodes."""
        return replace(self, nodes=nodes, most_nodes=most_nodes)


def shape_of(spec: JobSpec) -> Shape:
    """The shape of a job. A task without GPUs takes one CPU."""
    r = spec.resources
    return Shape(
        nodes=r.least_nodes,
        gpus=r.gpus_per_node,
        gpu_milli=r.gpu_share_permille,
        mig=r.mig,
        gpu_type=tuple(word.lower() for word in r.gpu_type),
        gpu_memory_min_bytes=r.gpu_memory_min_bytes,
        cpus=r.cpus_per_gpu * r.gpus_per_node if r.gpus_per_node else 1,
        memory_bytes=r.memory_bytes,
        need=need_of(spec),
        same_rack=r.same_rack,
        labels=launcher_labels(spec.launch.launchers).union(r.labels.items()),
        priority=spec.priority,
        most_nodes=r.most_nodes,
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
    """Numbers of the gangs that may start now, in start order."""
    is_late: bool = False
    """Its deadline can no longer be met: it gets no promise."""
    replicas: tuple[NodeId, ...] | None = None
    """Nodes of the running replicas; None: it is no service."""
    runs_s: float | None = None
    """Maximum run time of a gang; None: unknown."""
    quotas: tuple[int, ...] = ()
    """Quotas that count it: positions in `Snapshot.quotas`."""
    reservation: str = ""
    """The reservation in which it starts; empty = none."""
    data: Data = ()
    """What its nodes must have: versions of data sets, an output slot."""
    stay: Stay = field(init=False, repr=False, compare=False)
    """Where it may start."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "stay", Stay(self.reservation, self.runs_s, self.data))
