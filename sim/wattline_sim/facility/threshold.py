"""`threshold`: two-threshold capping on measured row power, as POLCA does it.

No budget in the scheduler: everything is placed. A row manager reads the row's power, two seconds
old. Above T1 it locks the clocks of low-priority GPUs, above T2 lower, and those of high-priority
GPUs too if that did not help; each is undone 5 % below its threshold. Commands go out of band and
take up to 40 s a server. At 100 % for 5 s the hardware brake halves every clock.
Clocks are those of the paper (A100: 1275, 1110 and 1305 of 1410 MHz) as shares of the highest.
Source: Patel et al., "Characterizing Power Management Opportunities for LLMs in the Cloud",
ASPLOS 2024 (POLCA).
"""

import random
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from wattline_protocol.job.spec import PRIORITIES
from wattline_protocol.site.model import Site
from wattline_sim.facility.building import Building, without_budgets
from wattline_sim.facility.policies import Wattline
from wattline_sim.facility.works import FloatArray, IntArray

if TYPE_CHECKING:
    from wattline_sim.facility.run import Facility

T1, T2, HYSTERESIS, BRAKE_AT = 0.80, 0.89, 0.05, 1.0
LOW_T1, LOW_T2, HIGH_T2, FREE = 1275 / 1410, 1110 / 1410, 1305 / 1410, 1.0
READ_LAG_S, BRAKE_AFTER_S = 2, 5
COMMAND_S = (10.0, 40.0)
"""Shortest (assumed) and longest time until a server's BMC has done it."""


class Stages:
    """How far the row manager has gone, from what it measured."""

    def __init__(self) -> None:
        self.low, self.high = FREE, FREE
        self.is_braking = False
        self._over_s = 0
        self._since_low_t2_s = 0

    def second(self, share: float) -> None:
        """Take one measurement: draw over what the row is provisioned for."""
        if share >= T2:
            self._since_low_t2_s = self._since_low_t2_s + 1 if self.low == LOW_T2 else 0
            self.low = LOW_T2
            if self._since_low_t2_s > COMMAND_S[1]:
                self.high = HIGH_T2
        elif share >= T1:
            self.low = min(self.low, LOW_T1)
        if share < T2 - HYSTERESIS:
            self.high, self.low = FREE, max(self.low, LOW_T1)
        if share < T1 - HYSTERESIS:
            self.low = FREE
        self._over_s = self._over_s + 1 if share >= BRAKE_AT else 0
        self.is_braking = self._over_s >= BRAKE_AFTER_S or (self.is_braking and share >= T2)


class Threshold(Wattline):
    """All nodes, no budget, and a row manager beside the scheduler."""

    name = "threshold"

    def __init__(self) -> None:
        self._stages = Stages()
        self._read: deque[float] = deque(maxlen=READ_LAG_S + 1)
        self._asked: FloatArray | None = None
        self._due_s: FloatArray | None = None
        self._rng = random.Random(1)
        self._is_braking = False

    def site(self, building: Building) -> Site:
        """The scheduler knows no budget."""
        return without_budgets(building.site)

    def second(self, facility: "Facility") -> None:
        """Measure, decide, command, and let commands arrive."""
        plant, score = facility.plant, facility.score
        self._read.append(float(plant.domain_wall_avg_1s_w[0] / score.budget_w[0]))
        self._stages.second(self._read[0])
        if self._stages.is_braking != self._is_braking:
            self._is_braking = self._stages.is_braking
            plant.brake(range(len(facility.hosts)), self._is_braking)
        self._command(facility)

    def _command(self, facility: "Facility") -> None:
        priority = facility.works.priority_of_gpus()
        is_high = priority > PRIORITIES["normal"]
        wanted = np.where(is_high, self._stages.high, self._stages.low)
        if self._asked is None or self._due_s is None:
            self._asked, self._due_s = np.full(len(wanted), FREE), np.full(len(wanted), np.inf)
        changed = wanted != self._asked
        if changed.any():
            self._asked = wanted
            per_node = facility.plant.layout.gpus_per_node
            nodes = range(len(facility.hosts))
            take_s = np.repeat([self._rng.uniform(*COMMAND_S) for _ in nodes], per_node)
            self._due_s = np.where(changed, facility.now_s + take_s, self._due_s)
        due = np.flatnonzero(self._due_s <= facility.now_s)
        if due.size:
            self._arrive(facility, due)

    def _arrive(self, facility: "Facility", due: IntArray) -> None:
        asked, due_s = self._asked, self._due_s
        if asked is None or due_s is None:
            return
        top_mhz = facility.plant.layout.gpu_model.sm_max_mhz
        for share in np.unique(asked[due]):
            gpus = due[asked[due] == share]
            facility.plant.lock_clocks(gpus, None if share == FREE else int(share * top_mhz))
        due_s[due] = np.inf
