"""Ranks of a gang: which task has a rank, and under which number on its node."""

from collections.abc import Mapping

from wattline_protocol.ids import GpuIndex, TaskNo
from wattline_protocol.job.spec import JobSpec


def procs_per_node(spec: JobSpec) -> int:
    """Ranks of each task of the job."""
    if spec.launch.how != "torchrun":
        return 1
    return spec.launch.procs_per_node or max(1, spec.resources.gpus_per_node)


LABEL = "label:"


def interface_on(interface: str, labels: Mapping[str, str]) -> str:
    """Name of the interface on a node with these labels; empty: the node lacks the label."""
    name = interface.removeprefix(LABEL)
    return interface if name == interface else labels.get(name, "")


def rank_count(spec: JobSpec) -> int:
    """Ranks of each gang of the job."""
    return spec.gang_size * procs_per_node(spec)


def ranks_of(spec: JobSpec, task: TaskNo) -> range:
    """Ranks of this task in its gang, in the order of their numbers on the node."""
    procs = procs_per_node(spec)
    first = task % spec.gang_size * procs
    return range(first, first + procs)


def gpus_of_rank(
    spec: JobSpec, gpus: tuple[GpuIndex, ...], local_rank: int
) -> tuple[GpuIndex, ...]:
    """Its GPUs of those of its task: an even part in order, as programs choose them by
    LOCAL_RANK; all of them where they do not divide."""
    count, rest = divmod(len(gpus), procs_per_node(spec))
    return gpus if rest or not count else gpus[local_rank * count : (local_rank + 1) * count]


def place_of(spec: JobSpec, task: TaskNo, rank: int) -> tuple[TaskNo, int | None]:
    """Task of this rank in the gang of `task`, and its number there; None: the task is the rank,
    and has one log."""
    first = task // spec.gang_size * spec.gang_size
    node_rank, local_rank = divmod(rank, procs_per_node(spec))
    has_own_log = spec.launch.how == "torchrun"
    return TaskNo(first + node_rank), local_rank if has_own_log else None
