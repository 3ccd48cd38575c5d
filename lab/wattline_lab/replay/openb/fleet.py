"""The fleet as the production planner's columns, and pods as what it is asked.

CPUs are counted in thousandths in place of whole ones; nothing else differs. No watts are
limited: the published protocol knows none.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from wattline_lab.replay.openb.lists import ListedNode, Pod
from wattline_lab.replay.openb.powermodel import PowerModel
from wattline_protocol.ids import GpuIndex
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.plan.mix.fragmentation import Mix, mix_of, typical, whole_nodes
from wattline_scheduler.plan.model.columns import WHOLE_MILLI, Columns, GpuClasses
from wattline_scheduler.plan.model.task_request import Ask
from wattline_scheduler.power.topology.matrix import Bools, Ints

MIB = 2**20

MAX_TAG = 9
"""Pods by GPUs: none, a share of one (`SHARE_TAG`), and 1 to 8 of them."""

SHARE_TAG = 0


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A pod in the numbers of the columns."""

    number: int
    """Among the different ones of a list."""
    ask: Ask
    tag: int
    """How many GPUs, or `SHARE_TAG`."""

    @property
    def size_milli(self) -> int:
        return self.ask.gpus * self.ask.milli

    @property
    def is_share(self) -> bool:
        return self.ask.gpus == 1 and self.ask.milli < WHOLE_MILLI


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """A list as the policies see it."""

    tasks: tuple[Task, ...]
    """One for each pod."""
    mix: Mix
    """Typical pods, as FGD takes them from the list: what is known of what is to come."""


class Fleet:
    """Nodes in a given order: of equally good ones the first is taken."""

    def __init__(
        self,
        nodes: Sequence[ListedNode],
        classes: GpuClasses,
        power_model: PowerModel | None = None,
    ) -> None:
        slots = max((node.gpus for node in nodes), default=0)
        self.columns = Columns.empty(len(nodes), max(1, slots), classes=classes)
        self.gpus = np.array([node.gpus for node in nodes], np.int64)
        self.cpus: Ints = np.array([node.cpu_milli for node in nodes], np.int64)
        self.models = [node.model for node in nodes]
        self.has_tag: Bools = np.zeros((len(nodes), MAX_TAG), np.bool_)
        """[node, tag] a pod of this tag is there."""
        for at, node in enumerate(nodes):
            idle_mw = gpu_mw(power_model, node.model).idle
            gpus = [gpu_of(node.model, index, idle_mw) for index in range(node.gpus)]
            self.columns.set_gpus(at, gpus, [WHOLE_MILLI] * node.gpus)
        self.columns.is_open[:] = True
        self.columns.cpus_free[:] = self.cpus
        self.columns.memory_free_bytes[:] = [node.memory_mib * MIB for node in nodes]

    @property
    def capacity_milli(self) -> int:
        return int(self.gpus.sum()) * WHOLE_MILLI

    def take(self, at: int, task: Task, slots: list[int]) -> None:
        """Put a pod on GPUs of a node; the caller knows that it fits."""
        columns, ask = self.columns, task.ask
        columns.free_milli[at, slots] -= ask.milli
        # As in the scheduler: what a GPU counts already is no rise for the next share of it.
        columns.idle_mw[at, slots] = ask.draw_mw[columns.gpu_class[at, slots]]
        columns.note_slots(at)
        columns.cpus_free[at] -= ask.cpus
        columns.memory_free_bytes[at] -= ask.memory_bytes
        if ask.gpus:
            self.has_tag[at, task.tag] = True


class _Milliwatts(NamedTuple):
    idle: int
    full: int


def gpu_mw(power_model: PowerModel | None, model: str) -> _Milliwatts:
    """What a GPU draws; nothing where there is no power model, or the model is not in it."""
    if power_model is None:
        return _Milliwatts(0, 0)
    idle_w, full_w = power_model.gpu_idle_w.get(model, 0.0), power_model.gpu_full_w.get(model, 0.0)
    return _Milliwatts(round(idle_w * 1000), round(full_w * 1000))


def gpu_of(model: str, index: int, idle_mw: int = 0) -> GpuInfo:
    """A GPU of which the model matters, and what it draws while untouched."""
    return GpuInfo(
        index=GpuIndex(index),
        uuid="",
        name=model,
        memory_bytes=0,
        cap_min_mw=0,
        cap_default_mw=0,
        cap_max_mw=0,
        idle_mw=idle_mw,
        overshoot_permille=1000,
        can_cap=False,
        managed=True,
    )


def classes_of(nodes: Iterable[ListedNode]) -> GpuClasses:
    """One class a model, in alphabetic order."""
    classes = GpuClasses()
    for model in sorted({node.model for node in nodes if node.gpus}):
        classes.number(gpu_of(model, 0))
    return classes


def workload_of(
    pods: Sequence[Pod],
    nodes: Sequence[ListedNode],
    classes: GpuClasses,
    power_model: PowerModel | None = None,
    *,
    whole: bool,
) -> Workload:
    """Pods as tasks, equal ones shared. `whole`: the mix expects tasks that take a whole node."""
    full = [gpu_mw(power_model, gpu.name).full for gpu in classes.examples[1:] if gpu is not None]
    draw_mw = np.array([0, *full], np.int64)
    known: dict[Pod, Task] = {}
    for pod in pods:
        if pod not in known:
            known[pod] = _task(len(known), pod, classes, draw_mw)
    mix = [*typical(_counted(pods, known))]
    if whole:
        mix += whole_nodes(((node.gpus, node.cpu_milli) for node in nodes), classes.are_gpus)
    return Workload(tuple(known[pod] for pod in pods), mix_of(mix))


def _counted(pods: Sequence[Pod], known: Mapping[Pod, Task]) -> list[tuple[Ask, float]]:
    """How often each is asked for; pods that differ in memory alone count as one, as published."""
    example: dict[tuple[object, ...], Ask] = {}
    counts: Counter[tuple[object, ...]] = Counter()
    for pod in pods:
        key = (pod.cpu_milli, pod.gpu_milli, pod.gpus, pod.models)
        example.setdefault(key, known[pod].ask)
        counts[key] += 1
    return [(example[key], count) for key, count in sorted(counts.items(), key=_by_key)]


def _by_key(one: tuple[tuple[object, ...], int]) -> str:
    return repr((one[0][:3], sorted(one[0][3])))  # type: ignore[call-overload]


def _task(number: int, pod: Pod, classes: GpuClasses, draw_mw: Ints) -> Task:
    is_suited = [
        gpu is not None and (not pod.models or gpu.name in pod.models) for gpu in classes.examples
    ]
    ask = Ask(
        gpus=pod.gpus,
        milli=pod.gpu_milli if pod.gpus else WHOLE_MILLI,
        cpus=pod.cpu_milli,
        memory_bytes=pod.memory_mib * MIB,
        is_suited=np.array(is_suited, np.bool_),
        draw_mw=draw_mw,
    )
    is_share = pod.gpus == 1 and pod.gpu_milli < WHOLE_MILLI
    return Task(number, ask, SHARE_TAG if is_share else pod.gpus)
