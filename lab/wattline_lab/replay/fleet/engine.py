"""Runs the work of a fleet through production's planner and allocator.

Once a minute, if anything happened: what is done gives its GPUs back, what was submitted joins the
line, one planning cycle after the other places what fits, and every few minutes watts are divided
anew. Nothing is sent back once it runs: all work is of one priority.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import islice
from math import ceil, inf

import numpy as np

from wattline_lab.replay.fleet.gangs import NEVER_CAPPED, Gang, Kind, gang_of
from wattline_lab.replay.fleet.lines import SHOWN, Line
from wattline_lab.replay.fleet.machines import Machines
from wattline_lab.replay.fleet.mixing import Asked
from wattline_lab.replay.fleet.speeds import Ended, Speeds
from wattline_lab.replay.meter import Meter
from wattline_scheduler.core.model.queue.runtime_bounds import Longest
from wattline_scheduler.plan.cycle import plan
from wattline_scheduler.plan.model.snapshot import Placement
from wattline_scheduler.power.demand.useful_cap import NOTHING_SAID, Need, with_known

TICK_S = 60.0

ROUNDING_S = 1e-6
"""What times are off by."""

DIVIDE_S = 300.0
"""A scheduler divides watts every beat; here what started runs at what was found for it, and what
ended leaves its watts unused, until then."""


_Line = tuple[int, float | None]


def _line_of(gang: Gang) -> _Line:
    """Equal ones are interchangeable but for their age."""
    return id(gang.shape), gang.runs_s


class NeverFits(Exception):
    """Jobs for which there is no room below the budgets even while nothing runs."""


class Engine:
    """One run."""

    def __init__(
        self, machines: Machines, line: Line, meter: Meter, *, is_capped: bool, passes_over: bool
    ) -> None:
        """`is_capped`: work is admitted at what it must keep, and capped; otherwise at its TDP.
        `passes_over`: who does not fit does not stop those behind it."""
        self._machines, self._line, self._meter = machines, line, meter
        self._is_capped, self._passes_over = is_capped, passes_over
        self._speeds = Speeds(machines)
        self._longest = Longest()
        self._known_mw: dict[Kind, int] = {}
        self._gangs: dict[int, Gang] = {}
        """Those that wait, by number."""
        self._of_model: dict[str, dict[Gang, None]] = defaultdict(dict)
        """The same of each GPU model, by submission."""
        self._divided_s = -inf
        self._is_stale = False
        """What runs has changed since watts were divided."""
        self.ended: list[Ended] = []

    def run(self, asked: Sequence[Asked], progress: Callable[[float], None]) -> None:
        """All jobs, which come by submission, to their ends. Raises NeverFits."""
        ahead = list(reversed(asked))
        while ahead or self._gangs or len(self.ended) < len(asked):
            now_s = self._next_s(ahead[-1].job.submit_s if ahead else inf)
            self._pass_to(now_s)
            while ahead and ahead[-1].job.submit_s <= now_s + ROUNDING_S:
                self._submit(ahead.pop())
            self._plan(now_s)
            self._follow(now_s)
            progress(len(self.ended) / len(asked))

    def _next_s(self, arrival_s: float) -> float:
        next_s = min(arrival_s, self._speeds.next_end_s())
        if self._is_capped and self._is_stale:
            next_s = min(next_s, self._divided_s + DIVIDE_S)
        if next_s == inf:
            raise NeverFits(f"{len(self._gangs)} jobs wait for watts that the budget never has")
        return ceil((next_s - ROUNDING_S) / TICK_S) * TICK_S

    def _pass_to(self, now_s: float) -> None:
        self._meter.pass_to(now_s, self._speeds.working_gpus(), *self._watts_mw())
        for one in self._speeds.pass_to(now_s):
            gang = one.gang
            job = gang.asked.job
            self._machines.take_back(gang)
            self._meter.ended(job.account, gang.asked.model, gang.gpus)
            self._line.ended(gang, one.end_s)
            self._longest.note(gang.size, one.end_s - gang.start_s)
            self._known_mw[gang.kind] = max(self._known_mw.get(gang.kind, 0), gang.demand_mw)
            gang.run.held_s, gang.run.end_s = one.end_s - gang.start_s, one.end_s
            self.ended.append(one)

    def _watts_mw(self) -> tuple[float, float]:
        """Drawn at the wall, and the site's budget."""
        fleet = self._machines.fleet
        gpus_mw = np.bincount(fleet.gpus.node, self._speeds.drawn_mw, len(fleet.nodes.base_mw))
        wall = (fleet.nodes.base_mw + gpus_mw) * 1000 / fleet.nodes.psu_efficiency_permille
        return float(wall.sum()), self._machines.budget_mw()

    def _submit(self, asked: Asked) -> None:
        need = self._need_of(asked)
        gang = gang_of(asked, need)
        gang.runs_s = self._longest.learned_s(gang.size)
        self._gangs[asked.job.id] = gang
        self._of_model[asked.model][gang] = None
        self._machines.picture.recent.note(gang.shape, gang.shape.nodes)
        self._line.arrived(gang)
        self._meter.submitted(asked.job.account, asked.model, gang.gpus, gang.wanted_mw)

    def _need_of(self, asked: Asked) -> Need:
        if not self._is_capped:
            return NEVER_CAPPED
        kind = asked.job.account, asked.job.kind, asked.model
        return with_known(NOTHING_SAID, self._known_mw.get(kind, 0))

    def _plan(self, now_s: float) -> None:
        self._speeds.follow(self._machines.refresh())
        if self._passes_over:
            while self._cycle(now_s):
                pass
            return
        for model in list(self._of_model):
            while self._cycle_in_order(now_s, model):
                pass

    def _cycle(self, now_s: float) -> bool:
        """True = more may fit."""
        fronts = self._fronts(now_s)
        waiting = tuple(gang.in_queue() for gang in fronts)
        if not waiting:
            return False
        seen = self._machines.snapshot(now_s, waiting)
        result = plan(seen, self._machines.picture.looks)
        placed = Counter(_line_of(self._gangs[one.job]) for one in result.placements)
        self._place(result.placements, now_s)
        return result.is_cut or any(count >= SHOWN for count in placed.values())

    def _fronts(self, now_s: float) -> list[Gang]:
        """Of gangs that the planner cannot tell apart the first, as production shows them."""
        count: dict[_Line, int] = defaultdict(int)
        shown = []
        for gang in self._line.ordered(now_s):
            line = _line_of(gang)
            if count[line] < SHOWN:
                count[line] += 1
                shown.append(gang)
        return shown

    def _cycle_in_order(self, now_s: float, model: str) -> bool:
        """Each GPU model has a queue of its own, in which nobody is passed."""
        waiting = tuple(gang.in_queue() for gang in islice(self._of_model[model], SHOWN))
        if not waiting:
            return False
        seen = self._machines.snapshot(now_s, waiting)
        placed = {one.job: one for one in plan(seen, self._machines.picture.looks).placements}
        first: list[Placement] = []
        for each in waiting:
            if each.job not in placed:
                break
            first.append(placed[each.job])
        self._place(first, now_s)
        return len(first) == SHOWN

    def _place(self, placements: Sequence[Placement], now_s: float) -> None:
        for placement in placements:
            gang = self._gangs.pop(placement.job)
            job = gang.asked.job
            del self._of_model[gang.asked.model][gang]
            gang.runs_s = self._longest.learned_s(gang.size)
            self._machines.give(gang, placement.tasks)
            self._speeds.start(gang, now_s)
            self._line.started(gang)
            self._meter.started(job.account, gang.asked.model, gang.gpus, gang.wanted_mw)
        self._speeds.follow(self._machines.refresh())
        self._is_stale = self._is_stale or bool(placements)

    def _follow(self, now_s: float) -> None:
        if self._is_capped and self._is_stale and now_s - self._divided_s >= DIVIDE_S:
            self._speeds.divide()
            self._divided_s, self._is_stale = now_s, False
