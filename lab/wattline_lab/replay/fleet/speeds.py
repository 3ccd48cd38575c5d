"""How fast the work of the fleet gets on under the caps that the allocator gives.

A cap costs a GPU what its curve says, and a gang is as fast as the slowest of its GPUs. Work that
just started runs at what was found for it until watts are divided again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from wattline_lab.replay.fleet.gangs import Gang
from wattline_lab.replay.fleet.machines import Machine, Machines
from wattline_scheduler.power.demand.models import Curve, curve, performance_at
from wattline_scheduler.power.demand.node_load import gpu_admission_mw
from wattline_scheduler.power.demand.useful_cap import Need, phase_of
from wattline_scheduler.power.topology.matrix import Floats, Ints

DONE_S = 1e-6
"""Work left that counts as none."""

FIRST_SLOTS = 1024


@dataclass(frozen=True, slots=True)
class Ended:
    """A gang, and when it was done."""

    gang: Gang
    end_s: float


class Speeds:
    """Work left of all that runs."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self.gangs: list[Gang | None] = [None] * FIRST_SLOTS
        self._unused = list(range(FIRST_SLOTS))[::-1]
        self._left_s: Floats = np.full(FIRST_SLOTS, inf)
        self.speed: Floats = np.zeros(FIRST_SLOTS)
        """Of each gang, 1 = uncapped."""
        self._gpus: Floats = np.zeros(FIRST_SLOTS)
        entries = len(machines.fleet.gpus.node)
        self._owner: Ints = np.full(entries, -1, np.int64)
        """Of each entry of the allocator's columns: the gang's slot."""
        self._demand_mw: Floats = np.ones(entries)
        self._bend: Floats = np.ones(entries)
        self._order: Floats = np.ones(entries)
        self.drawn_mw: Floats = np.zeros(entries)
        self._now_s = 0.0

    def start(self, gang: Gang, now_s: float) -> None:
        """It runs from now on."""
        if not self._unused:
            self._widen()
        slot = gang.slot = self._unused.pop()
        gang.start_s = now_s
        self.gangs[slot] = gang
        self._left_s[slot], self._gpus[slot] = gang.asked.job.duration_s, gang.gpus
        gpu = self._machines.all[gang.nodes[0]].gpus[0]
        cap_mw = gpu_admission_mw(gpu, gang.shape.need)
        known = _curve(gpu.name, gang.demand_mw, gpu.cap_max_mw)
        self.speed[slot] = known.performance(cap_mw / 1000, gang.demand_mw / 1000)

    def _widen(self) -> None:
        count = len(self.gangs)
        self.gangs += [None] * count
        self._unused += range(2 * count - 1, count - 1, -1)
        self._left_s = np.append(self._left_s, np.full(count, inf))
        self.speed = np.append(self.speed, np.zeros(count))
        self._gpus = np.append(self._gpus, np.zeros(count))

    def working_gpus(self) -> float:
        """GPUs that would do as much, uncapped."""
        return float(self.speed @ self._gpus)

    def next_end_s(self) -> float:
        """When the next of them is done, if caps stay as they are."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ahead_s = np.where(self.speed > 0.0, self._left_s / self.speed, inf)
        return self._now_s + float(ahead_s.min())

    def pass_to(self, now_s: float) -> list[Ended]:
        """Advance the time; gangs that ended meanwhile, and when."""
        self._left_s -= self.speed * (now_s - self._now_s)
        self._now_s = now_s
        done = np.flatnonzero(self._left_s <= DONE_S)
        return [self._end(slot, now_s) for slot in done.tolist()]

    def _end(self, slot: int, now_s: float) -> Ended:
        gang = self.gangs[slot]
        if gang is None:
            raise AssertionError("a gang ended that does not run")
        end_s = now_s + min(0.0, float(self._left_s[slot] / self.speed[slot]))
        self.gangs[slot] = None
        self._left_s[slot], self.speed[slot] = inf, 0.0
        self._unused.append(slot)
        return Ended(gang, end_s)

    def follow(self, changed: Sequence[Machine]) -> None:
        """Other gangs hold the GPUs of these nodes."""
        for machine in changed:
            entries = self._machines.fleet.gpu_entries(machine.site.id)
            first, stop = entries.start, entries.start + len(machine.gpus)
            self._owner[first:stop] = -1
            self.drawn_mw[first:stop] = 0.0
            for entry, gang in enumerate(machine.holders.values(), first):
                known = _curve(machine.gpus[0].name, gang.demand_mw, machine.gpus[0].cap_max_mw)
                booked_mw = gpu_admission_mw(machine.gpus[0], gang.shape.need)
                self._owner[entry], self._demand_mw[entry] = gang.slot, gang.demand_mw
                self._bend[entry], self._order[entry] = known.bend, known.order
                self.drawn_mw[entry] = min(gang.demand_mw, booked_mw)

    def divide(self) -> None:
        """The allocator divides all watts again."""
        fleet = self._machines.fleet
        given = fleet.allocate(self._machines.books.free_for(fleet.nodes.is_set))
        held = np.flatnonzero(self._owner >= 0)
        demand_mw = self._demand_mw[held]
        got_mw = np.minimum(given.gpu_mw[held], demand_mw)
        self.drawn_mw[held] = got_mw
        speed = performance_at(got_mw / demand_mw, self._bend[held], self._order[held])
        owner = self._owner[held]
        self.speed[owner] = 1.0
        np.minimum.at(self.speed, owner, speed)


def _curve(name: str, demand_mw: int, cap_max_mw: int) -> Curve:
    return curve(name, phase_of(Need(), demand_mw, cap_max_mw))
