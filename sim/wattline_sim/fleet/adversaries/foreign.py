"""People who run something on GPUs themselves, beside Wattline: processes that are no task's.

Half of all sites have them. Their dice are their own, so that a site without them runs exactly as
it would if there were none. Such a process is quiet at times and draws at others; it holds its GPU
all the while. Some are still there, and some come, when everything else is healed.
"""

import random
from collections.abc import Callable, Iterable, Mapping

from wattline_protocol.ids import NodeId
from wattline_scheduler.records import BookRecord, Record
from wattline_sim.fleet.hardware import CAP_MAX_MW, IDLE_MW, Gpu
from wattline_sim.fleet.machine import Machine
from wattline_sim.fleet.story import Story
from wattline_sim.fleet.world import World

SITES_SHARE = 0.5
MEAN_S = 15.0
LASTS_S = (0.5, 40.0)
BURST_S = (0.5, 8.0)
QUIET_SHARE = 0.4
AFTER_S = 30.0
"""So long after everything is healed people go on to come."""
NOTICED_S = 12.0
"""An agent that works has found a process by then, and its scheduler has it in the books."""
CALM_S = 25.0
"""After so long without faults every agent and the scheduler work."""
COOLS_S = 2.0
"""Longer than an average takes to fall."""
GIVEN_S = 5.0
"""No start takes longer from its check to its launch."""


class GivenForeign(AssertionError):
    """A task was started on a GPU that a foreign process had been using for a while."""


class FalseAlarm(AssertionError):
    """A node was distrusted for what others do on it, which happens every day."""


class ForeignUse:
    """What such people do on one site."""

    def __init__(
        self, world: World, story: Story, machines: Mapping[NodeId, Machine], dice: random.Random
    ) -> None:
        self._world, self._story, self._dice = world, story, dice
        self._machines = machines
        self._is_used = dice.random() < SITES_SHARE
        self.is_doubtful: Callable[[NodeId], bool] = lambda _: False
        """Whether a node may count in full for another reason."""
        self._healed_s: float | None = None

    def begin(self) -> None:
        """Until some time after everything is healed."""
        if self._is_used:
            self._world.after(self._dice.expovariate(1.0 / MEAN_S), self._again)

    def heal(self) -> None:
        """No other faults from now on."""
        self._healed_s = self._world.now_s

    @property
    def is_over(self) -> bool:
        """Nobody comes any more, and everybody is gone."""
        return not self._is_used or (self._is_late and not any(self._used()))

    @property
    def is_calm(self) -> bool:
        """Every agent and the scheduler have worked for a while."""
        return self._healed_s is not None and self._world.now_s - self._healed_s > CALM_S

    def is_reserve(self, gpu: Gpu) -> bool:
        """The reserve of its domains covers what the GPU draws: somebody has just come, or faults
        keep it from being known."""
        is_there = gpu.foreign_mw is not None or self._world.now_s - gpu.foreign_until_s < COOLS_S
        return is_there and (not self.is_calm or self._since_s(gpu) < NOTICED_S)

    def check_books(self, records: Iterable[Record]) -> None:
        """Raise if a node counts in full though nothing is wrong with it."""
        for record in records:
            if not isinstance(record, BookRecord) or record.standing != "full":
                continue
            if self.is_calm and not self.is_doubtful(record.node):
                raise FalseAlarm(f"{record.node} counts in full because others use its GPUs")

    def check_start(self, machine: Machine, gpu: Gpu) -> None:
        """Raise if a task begins on it though it has been in use for long."""
        is_seen = machine.is_answering(gpu)
        if is_seen and gpu.foreign_mw is not None and self._since_s(gpu) > GIVEN_S:
            raise GivenForeign(
                f"GPU {gpu.index} of {machine.node} was given though in use for "
                f"{self._since_s(gpu):.1f} s"
            )

    def _since_s(self, gpu: Gpu) -> float:
        return self._world.now_s - gpu.foreign_since_s

    @property
    def _is_late(self) -> bool:
        return self._healed_s is not None and self._world.now_s - self._healed_s > AFTER_S

    def _used(self) -> list[Gpu]:
        gpus = (gpu for machine in self._machines.values() for gpu in machine.gpus.values())
        return [gpu for gpu in gpus if gpu.foreign_mw is not None]

    def _again(self) -> None:
        if self._is_late:
            return
        machine = self._machines[self._dice.choice(sorted(self._machines))]
        gpu = self._dice.choice(list(machine.gpus.values()))
        if machine.is_up and gpu.foreign_mw is None and not gpu.is_lost:
            self._come(machine, gpu)
        self._world.after(self._dice.expovariate(1.0 / MEAN_S), self._again)

    def _come(self, machine: Machine, gpu: Gpu) -> None:
        self._story.fault(self._world.now_s, "foreign process", f"{machine.node} GPU {gpu.index}")
        boot, until_s = machine.boots, self._world.now_s + self._dice.uniform(*LASTS_S)
        gpu.foreign_since_s, gpu.foreign_mw = self._world.now_s, IDLE_MW

        def go_on() -> None:
            if machine.boots != boot or gpu.foreign_mw is None:
                return
            machine.cool_foreign(gpu)
            if self._world.now_s >= until_s or gpu.is_lost:
                gpu.foreign_mw = None
                return
            is_quiet = self._dice.random() < QUIET_SHARE
            draw_mw = self._dice.randint(IDLE_MW + 1, CAP_MAX_MW)
            gpu.foreign_mw = IDLE_MW if is_quiet else draw_mw
            self._world.after(self._dice.uniform(*BURST_S), go_on)

        go_on()
