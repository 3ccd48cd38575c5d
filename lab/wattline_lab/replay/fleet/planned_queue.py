"""Pending gangs under the scheduler's own code: queue order, planner, promises and backfill."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from wattline_lab.replay.fleet.gangs import Gang
from wattline_lab.replay.fleet.lines import SHOWN, Line
from wattline_lab.replay.fleet.machines import Machines
from wattline_scheduler.core.model.queue.runtime_bounds import RuntimeBounds
from wattline_scheduler.plan.model.snapshot import Placement

_Class = tuple[int, float | None]


def _class_of(gang: Gang) -> _Class:
    """Equal gangs are interchangeable but for their age."""
    return id(gang.shape), gang.runs_s


class PlannedQueue:
    """The queue, and what it has learned of run times."""

    def __init__(self, machines: Machines, line: Line) -> None:
        self._machines, self._line = machines, line
        self._longest = RuntimeBounds()
        self._gangs: dict[int, Gang] = {}
        """By number."""

    def __len__(self) -> int:
        """Number of pending gangs."""
        return len(self._gangs)

    def submit(self, gang: Gang) -> None:
        """Queue a gang."""
        gang.runs_s = self._longest.learned_s(gang.size)
        self._gangs[gang.asked.job.id] = gang
        self._machines.fleet_view.recent.note(gang.shape, gang.shape.nodes)
        self._line.arrived(gang)

    def plan(self, now_s: float) -> tuple[Sequence[Placement], bool]:
        """One planning cycle: placements, and whether another one may place more."""
        waiting = tuple(gang.in_queue() for gang in self._fronts(now_s))
        if not waiting:
            return (), False
        seen = self._machines.snapshot(now_s, waiting)
        result = self._machines.plan(seen)
        placed = Counter(_class_of(self._gangs[one.job]) for one in result.placements)
        is_more = result.is_cut or any(count >= SHOWN for count in placed.values())
        return result.placements, is_more

    def _fronts(self, now_s: float) -> list[Gang]:
        """Of gangs that the planner cannot distinguish the first, as production shows them."""
        count: dict[_Class, int] = defaultdict(int)
        shown = []
        for gang in self._line.ordered(now_s):
            one = _class_of(gang)
            if count[one] < SHOWN:
                count[one] += 1
                shown.append(gang)
        return shown

    def start(self, placement: Placement, now_s: float) -> Gang:
        """Allocate the GPUs of a placement."""
        gang = self._gangs.pop(placement.job)
        gang.runs_s, gang.start_s = self._longest.learned_s(gang.size), now_s
        self._machines.give(gang, placement.tasks)
        self._line.started(gang)
        return gang

    def end(self, gang: Gang, end_s: float) -> None:
        """Free the GPUs of a gang that has ended, and learn its run time."""
        self._machines.take_back(gang)
        self._line.ended(gang, end_s)
        self._longest.note(gang.size, end_s - gang.start_s)
