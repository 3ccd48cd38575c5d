"""Runs the work of a fleet through production's planner and allocator.

Once a minute, if anything happened: jobs that ended free their GPUs, submitted ones join the queue,
planning cycles place what fits, and every few minutes watts are divided. Nothing is preempted: all
work is of one priority.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import islice
from math import ceil, inf

import numpy as np

from wattline_lab.replay.fleet.gangs import NEVER_CAPPED, Gang, Kind, gang_of
from wattline_lab.replay.fleet.lines import SHOWN, Line
from wattline_lab.replay.fleet.machines import Machines
from wattline_lab.replay.fleet.mixing import Asked
from wattline_lab.replay.fleet.planned_queue import PlannedQueue
from wattline_lab.replay.fleet.speeds import Ended, Speeds
from wattline_lab.replay.meter import Meter
from wattline_scheduler.plan.model.snapshot import Placement
from wattline_scheduler.power.demand.useful_cap import NOTHING_SAID, Need, with_known

TICK_S = 60.0

ROUNDING_S = 1e-6
"""What times are off by."""

DIVIDE_S = 300.0
"""A scheduler divides watts every beat; here what started runs at what was found for it, and what
ended leaves its watts unused, until then."""


class NeverFits(Exception):
    """Jobs for which there is no room below the budgets even while nothing runs."""


class Engine:
    """One run."""

    def __init__(
        self, machines: Machines, line: Line, meter: Meter, *, is_capped: bool, passes_over: bool
    ) -> None:
        """`is_capped`: work is admitted at its useful cap, and capped; otherwise at its TDP.
        `passes_over`: jobs behind one that does not fit may start."""
        self._machines, self._meter = machines, meter
        self._queue = PlannedQueue(machines, line)
        self._is_capped, self._passes_over = is_capped, passes_over
        self._speeds = Speeds(machines)
        self._known_mw: dict[Kind, int] = {}
        self._of_model: dict[str, dict[Gang, None]] = defaultdict(dict)
        """Those that wait of each GPU model, by submission."""
        self._divided_s = -inf
        self._is_stale = False
        """What runs has changed since watts were divided."""
        self.ended: list[Ended] = []

    def run(self, asked: Sequence[Asked], progress: Callable[[float], None]) -> None:
        """All jobs, which come by submission, to their ends. Raises NeverFits."""
        ahead = list(reversed(asked))
        while len(self.ended) < len(asked):
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
            raise NeverFits(f"{len(self._queue)} jobs wait for watts that the budget never has")
        return ceil((next_s - ROUNDING_S) / TICK_S) * TICK_S

    def _pass_to(self, now_s: float) -> None:
        self._meter.pass_to(now_s, self._speeds.working_gpus(), *self._watts_mw())
        for one in self._speeds.pass_to(now_s):
            gang = one.gang
            job = gang.asked.job
            self._queue.end(gang, one.end_s)
            self._meter.ended(job.account, gang.asked.model, gang.gpus)
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
        self._queue.submit(gang)
        self._of_model[asked.model][gang] = None
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
        placements, is_more = self._queue.plan(now_s)
        self._place(placements, now_s)
        return is_more

    def _cycle_in_order(self, now_s: float, model: str) -> bool:
        """Each GPU model has a queue of its own, without passing over."""
        waiting = tuple(gang.in_queue() for gang in islice(self._of_model[model], SHOWN))
        if not waiting:
            return False
        seen = self._machines.snapshot(now_s, waiting)
        placed = {one.job: one for one in self._machines.plan(seen).placements}
        first: list[Placement] = []
        for each in waiting:
            if each.job not in placed:
                break
            first.append(placed[each.job])
        self._place(first, now_s)
        return len(first) == SHOWN

    def _place(self, placements: Sequence[Placement], now_s: float) -> None:
        for placement in placements:
            gang = self._queue.start(placement, now_s)
            job = gang.asked.job
            del self._of_model[gang.asked.model][gang]
            self._speeds.start(gang, now_s)
            self._meter.started(job.account, gang.asked.model, gang.gpus, gang.wanted_mw)
        self._speeds.follow(self._machines.refresh())
        self._is_stale = self._is_stale or bool(placements)

    def _follow(self, now_s: float) -> None:
        if self._is_capped and self._is_stale and now_s - self._divided_s >= DIVIDE_S:
            self._speeds.divide()
            self._divided_s, self._is_stale = now_s, False
