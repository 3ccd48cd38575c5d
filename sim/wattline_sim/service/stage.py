"""The stage of a run: slots of four GPUs, each with a replica or a training job.

Training fills what the service leaves, from a queue that never empties. A job that is preempted
saves within its grace; the next one in its slot begins with its set-up. A replica loads its model
before it is ready, and is drained before it goes.
"""

from dataclasses import dataclass

import numpy as np

from wattline_sim.facility.building import Building
from wattline_sim.facility.plant import Plant
from wattline_sim.facility.plant.catalogue import WORKLOADS
from wattline_sim.facility.plant.dice import Floats, Indexes
from wattline_sim.facility.plant.workload import PHASES, State, Workload
from wattline_sim.service.replicas import Replica, Replicas
from wattline_sim.service.requests import Requests

STEP_S = 0.5
SLOT_GPUS = 4
LOAD_S = 120.0
"""The weights of a 70 B model, 140 GB, at 1.2 GB/s."""
GRACE_S = 10.0
_TRAINING = ("pretraining", "finetuning")
_LOADING = Workload("replica", (State("load", "slack", 0.06, 0.06),))
_IS_TRAINING = np.array([phase.startswith("training") for phase in PHASES])


@dataclass(frozen=True, slots=True)
class Bounds:
    """Replicas that a service may have."""

    least: int
    most: int

    def within(self, replicas: int) -> int:
        """The nearest number that it may have."""
        return min(max(replicas, self.least), self.most)


class Stage:
    """Plant, replicas and training of one run."""

    def __init__(self, building: Building, requests: Requests, seed: int) -> None:
        self.plant = Plant(building.layout, seed, STEP_S)
        self._nodes, self._per_node = len(building.layout.nodes), building.layout.gpus_per_node
        self._seed, self._begun = seed, 0
        self.replicas = Replicas(requests)
        self.plant.jobs.drivers.append(self.replicas)
        self._claimed: dict[int, float] = {}
        """Slots whose training saves before it goes, and when they are free."""
        self.training_gpu_s = self.service_j = 0.0
        for slot in range(building.layout.gpu_count // SLOT_GPUS):
            self._train(slot)

    @property
    def now_s(self) -> float:
        """Seconds since the start."""
        return self.plant.now_s

    @property
    def count(self) -> int:
        """Replicas that are there or coming."""
        return sum(not one.is_draining for one in self.replicas.all) + len(self._claimed)

    @property
    def service_gpus(self) -> Indexes:
        """GPUs that replicas hold."""
        held = [self.gpus_of(one.slot) for one in self.replicas.all]
        return np.concatenate(held or [np.zeros(0, dtype=np.int64)])

    def gpus_of(self, slot: int) -> Indexes:
        """GPUs of a slot: half a node; the first halves of all nodes come first."""
        node, half = slot % self._nodes, slot // self._nodes
        first = node * self._per_node + half * SLOT_GPUS
        return np.arange(first, first + SLOT_GPUS)

    def begin_with(self, count: int) -> None:
        """Replicas that are ready at the start."""
        for slot in range(count):
            self._start(slot, self.now_s)

    def set_replicas(self, count: int) -> None:
        """Start or stop replicas until there are `count`."""
        while self.count < count:
            held = {one.slot for one in self.replicas.all} | self._claimed.keys()
            slot = next(slot for slot in range(len(held) + 1) if slot not in held)
            self._claimed[slot] = self.now_s + GRACE_S
        while self.count > count:
            self._release()

    def set_caps(self, watts: Floats) -> None:
        """Power limits of all GPUs, in force from the next step."""
        self.plant.set_limit_w(np.arange(len(watts)), watts)

    def forget_measures(self) -> None:
        """Joules and training count from now on."""
        self.training_gpu_s = self.service_j = 0.0

    def step(self) -> None:
        """One step of everything, and of the measures."""
        for slot in [slot for slot, at_s in self._claimed.items() if at_s <= self.now_s]:
            del self._claimed[slot]
            self._start(slot, self.now_s + LOAD_S)
        plant = self.plant
        plant.step(STEP_S)
        mine = self.service_gpus
        self.service_j += float(plant.cards.power_w[mine].sum()) * STEP_S
        trains = _IS_TRAINING[plant.jobs.phase[plant.jobs.row_of]]
        trains[mine] = False
        self.training_gpu_s += float(plant.performance[trains].sum()) * STEP_S
        for one in [one for one in self.replicas.all if one.is_draining and not one.outstanding]:
            self.replicas.all.remove(one)
            self.plant.unload(self.gpus_of(one.slot))
            self._train(one.slot)

    def _start(self, slot: int, ready_s: float) -> None:
        gpus = self.gpus_of(slot)
        self.plant.unload(gpus)
        self.plant.load(gpus, _LOADING, self._seed * 1_000 + slot)
        row = int(self.plant.jobs.row_of[gpus[0]])
        self.replicas.all.append(Replica(slot, SLOT_GPUS, row, ready_s))

    def _release(self) -> None:
        """One replica fewer: one that does not serve yet, else the idlest, which is drained."""
        if self._claimed:
            self._claimed.popitem()
            return
        staying = [one for one in self.replicas.all if not one.is_draining]
        chosen = min(staying, key=lambda one: (one.ready_s <= self.now_s, one.outstanding))
        chosen.is_draining = True

    def _train(self, slot: int) -> None:
        self._begun += 1
        kind = WORKLOADS[_TRAINING[slot % len(_TRAINING)]]
        self.plant.load(self.gpus_of(slot), kind, self._seed * 1_000_003 + self._begun)
