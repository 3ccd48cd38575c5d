"""What a fleet draws by the model of the PWR study, and scores of placements by what they add.

Lettich et al., "Power- and Fragmentation-aware Online Scheduling for GPU Datacenters", CCGrid 2025:
a GPU draws its idle watts while untouched and its full watts as soon as any part of it is taken; a
processor likewise, with tasks packed onto as few of them as their cores allow (two vCPUs a core).
"""

import numpy as np

from wattline_lab.replay.openb.fleet import Fleet, Task
from wattline_lab.replay.openb.lists import ListUnreadable
from wattline_lab.replay.openb.powermodel import PowerModel
from wattline_scheduler.plan.model.columns import NO_CLASS, WHOLE_MILLI
from wattline_scheduler.plan.model.task_request import free_slots
from wattline_scheduler.power.topology.matrix import Bools, Floats, Ints

CORE_MILLI = 2_000
"""Thousandths of vCPUs a core."""


class Watts:
    """A fleet by a power model."""

    def __init__(self, model: PowerModel, fleet: Fleet) -> None:
        missing = {name for name in fleet.models if name} - model.gpu_idle_w.keys()
        if missing:
            raise ListUnreadable(f"no watts of GPU model {', '.join(sorted(missing))}")
        self._model = model
        self._fleet = fleet
        self.gpu_idle_w: Floats = np.array([model.gpu_idle_w.get(m, 0.0) for m in fleet.models])
        full_w = np.array([model.gpu_full_w.get(m, 0.0) for m in fleet.models])
        self.gpu_rise_w: Floats = full_w - self.gpu_idle_w
        """[node] of one of its GPUs that is touched."""
        self.each_w = self.node_w(np.arange(len(fleet.models)))
        """[node] as it was when it was looked at last."""
        self.total_w = float(self.each_w.sum())

    def node_w(self, at: Ints) -> Floats:
        """[node] what it draws now."""
        columns = self._fleet.columns
        touched = (columns.gpu_class[at] != NO_CLASS) & (columns.free_milli[at] < WHOLE_MILLI)
        gpu_w = self._fleet.gpus[at] * self.gpu_idle_w[at]
        total: Floats = gpu_w + touched.sum(axis=1) * self.gpu_rise_w[at]
        return total + self._cpu_w(at, columns.cpus_free[at])

    def _cpu_w(self, at: Ints, free_milli: Ints) -> Floats:
        model = self._model
        cores = -(-self._fleet.cpus[at] // CORE_MILLI)
        cpus = -(-cores // model.cores_per_cpu)
        busy = cores - free_milli // CORE_MILLI
        active = -(-busy // model.cores_per_cpu)
        watts: Floats = model.cpu_idle_w * (cpus - active) + model.cpu_full_w * active
        return watts

    def rise_w(self, task: Task, at: Ints) -> Floats:
        """[node] what the task adds; a share of a GPU goes where it adds least."""
        free = self._fleet.columns.cpus_free[at]
        cpu_w = self._cpu_w(at, free - task.ask.cpus) - self._cpu_w(at, free)
        touches: Ints = np.full(len(at), task.ask.gpus)
        if task.is_share:
            touches = np.where(self._shared(task, at).any(axis=1), 0, 1)
        rise: Floats = cpu_w + touches * self.gpu_rise_w[at]
        return rise

    def least_slot(self, task: Task, at: int) -> int:
        """The first GPU on which a share adds least."""
        one = np.array([at])
        shared = self._shared(task, one)[0]
        free = free_slots(self._fleet.columns, task.ask, one)[0]
        return int(np.argmax(shared if shared.any() else free))

    def _shared(self, task: Task, at: Ints) -> Bools:
        columns = self._fleet.columns
        is_touched: Bools = columns.free_milli[at] < WHOLE_MILLI
        return is_touched & free_slots(columns, task.ask, at)

    def after(self, changed: int | None) -> float:
        """The fleet's watts, told which node changed."""
        if changed is not None:
            now_w = float(self.node_w(np.array([changed]))[0])
            self.total_w += now_w - float(self.each_w[changed])
            self.each_w[changed] = now_w
        return self.total_w
