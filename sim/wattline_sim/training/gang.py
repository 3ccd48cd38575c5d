"""One gang over time: what it has done, what is saved, and what keeps it from working."""

import math
from dataclasses import dataclass, field
from typing import Literal

from wattline_scheduler.power.demand.energy_goal import BEGIN_S, EVERY_S, MEASURE_S, is_measuring
from wattline_sim.training.week import Job

Bar = Literal["node", "watts", "preempted"]
NEVER = math.inf
AFTER_S = 1e-6
"""Just after a boundary, whatever sums of floats are rounded to."""


@dataclass(slots=True)
class Gang:
    """State of a gang. Work is in seconds of an uncapped GPU, of each of its GPUs."""

    job: Job
    can_save: bool = True
    work: float = 0.0
    saved: float = 0.0
    """Work in the newest published checkpoint."""
    lost: float = 0.0
    """Work that had to be done again."""
    bars: set[Bar] = field(default_factory=set)
    is_loaded: bool = False
    """Its processes are in memory: it works, starts or is frozen."""
    run_s: float = 0.0
    """Run time of the attempt."""
    ready_s: float = 0.0
    """End of the start."""
    waits_until_s: float = 0.0
    """End of a copy for a save."""
    publish_s: float = NEVER
    """When the open save is published, with `copied` in it."""
    copied: float = 0.0
    due_s: float = NEVER
    ahead_s: float = NEVER
    """A save before an interruption that was announced."""
    leaves_s: float = NEVER
    """It saves for the last time, and leaves its nodes then."""
    free_s: float = 0.0
    """Expected time between failures of its nodes, as of the start."""
    has_saved: bool = False
    """Whether this attempt has made a save."""
    cap_w: int = 0
    attempts: int = 0

    @property
    def nodes(self) -> int:
        return len(self.job.nodes)

    @property
    def is_up(self) -> bool:
        """Whether it draws more than idle power."""
        return self.is_loaded and not self.bars

    def is_working(self, now_s: float) -> bool:
        """Whether steps are made."""
        is_waiting = now_s < max(self.ready_s, self.waits_until_s) or self.leaves_s < NEVER
        return self.is_up and not is_waiting

    @property
    def saves_energy(self) -> bool:
        """Whether the cap of its goal applies (production's rule)."""
        return not is_measuring(self.run_s)

    def next_s(self, now_s: float) -> float:
        """When its state next changes by itself."""
        if not self.is_loaded:
            return NEVER
        times = [self.publish_s]
        if self.is_up:
            times += [self.due_s, self.ahead_s, self.ready_s, self.waits_until_s]
            times.append(now_s + _to_boundary_s(self.run_s))
        return min((at_s for at_s in times if at_s > now_s), default=NEVER)

    def start(self, now_s: float, free_s: float) -> None:
        """A new attempt, from the newest checkpoint."""
        self.is_loaded, self.run_s, self.free_s, self.has_saved = True, 0.0, free_s, False
        self.ready_s = now_s + self.job.kind.start_s(self.nodes)
        self.attempts += 1

    def end(self) -> None:
        """The attempt ends: what is not published is lost."""
        self.lost += self.work - self.saved
        self.work = self.saved
        self.is_loaded = False
        self.publish_s = self.due_s = self.ahead_s = self.leaves_s = NEVER
        self.ready_s = self.waits_until_s = 0.0

    def save(self, now_s: float) -> None:
        """Begin a save in the background."""
        kind = self.job.kind
        self.copied, self.publish_s = self.work, now_s + kind.save_s(self.nodes)
        self.waits_until_s = now_s + kind.copy_s(self.nodes)
        self.has_saved = True

    def leave(self, now_s: float) -> None:
        """Save for the last time, then leave."""
        self.leaves_s = now_s + self.job.kind.save_s(self.nodes)

    def published(self) -> None:
        """The open save is published."""
        self.saved, self.publish_s = self.copied, NEVER


def _to_boundary_s(run_s: float) -> float:
    """Run time until `is_measuring` may change."""
    hours = run_s // EVERY_S * EVERY_S
    ends = (BEGIN_S, hours + MEASURE_S, hours + EVERY_S)
    return min(end - run_s for end in ends if end > run_s) + AFTER_S
