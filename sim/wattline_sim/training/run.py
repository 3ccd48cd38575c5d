"""A week under one policy, from event to event; energy and work are exact between them."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count

import msgspec

from wattline.task.due import FIRST_SAVE_S, lead_s
from wattline_scheduler.core.emergency.pause_forecast import HORIZON_S
from wattline_scheduler.plan.learning.checkpoint_interval import failure_free_s, interval_s
from wattline_scheduler.power.demand.models import node_model
from wattline_sim.facility.building import Building
from wattline_sim.training.feed import Caps, Feed
from wattline_sim.training.gang import NEVER, Gang
from wattline_sim.training.kinds import (
    FINETUNING,
    GPU,
    GPUS_PER_NODE,
    WAITING_LEVEL,
    Pace,
    pace,
    watts_at,
)
from wattline_sim.training.week import REPAIR_S, URGENT, Fault, Job, Limit, Preemption, Week

FIXED_EVERY_S = 1_800.0
J_PER_KWH = 3.6e6
STEP_S = 3.0
"""Longest time between two questions of a program whether a save is due."""


_NODE = node_model(GPU.display_name)


@dataclass(frozen=True, slots=True)
class Policy:
    """How a fleet is run."""

    caps: Caps = "goal"
    has_interval: bool = True
    """Saves by Young's interval; else every half hour."""
    has_forecast: bool = True
    """A save before an interruption that is known; else it costs the work since the last one."""
    freezes: bool = True
    """Pauses freeze a gang; else it is stopped, and restarts from its newest save."""
    min_performance: float = 0.0


class Side(msgspec.Struct, frozen=True):
    """What a policy reached."""

    useful_gpu_hours: float
    """Work of uncapped GPUs that was not lost."""
    kwh: float
    """At the wall."""
    gpu_kwh: float
    recomputed_pct: float
    """Work that was done again, of all work done."""
    saves: int
    pauses: int
    restarts: int
    mean_cap_w: float
    """Of GPUs that work."""

    @property
    def steps_per_kwh(self) -> float:
        """Useful ones."""
        return self.useful_gpu_hours / self.kwh

    @property
    def steps_per_gpu_kwh(self) -> float:
        """The same, by the energy of the GPUs alone."""
        return self.useful_gpu_hours / self.gpu_kwh


class Run:
    """The state of all gangs, and the sums."""

    def __init__(self, week: Week, building: Building, policy: Policy) -> None:
        self._week, self._policy = week, policy
        self._feed = Feed(building, policy.caps, policy.min_performance)
        self._gangs = [Gang(job) for job in week.jobs]
        self._guests: list[Gang] = []
        self._failures, self._seen_s = [0] * week.nodes, [0.0] * week.nodes
        self._down: set[int] = set()
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._numbers = count()
        self._divided: object = None
        """What the newest division was made for."""
        self._j = self._gpu_j = self._capped_s = self._worked_s = 0.0
        self._useful_s = 0.0
        self._saves = self._pauses = 0
        self._plan()

    def _plan(self) -> None:
        for limit in self._week.limits:
            if limit.is_announced:
                self._at(max(0.0, limit.begin_s - HORIZON_S), partial(self._announce, limit))
            else:
                self._at(limit.begin_s, partial(self._feed.announce, limit))
            self._at(limit.begin_s, self._nothing)
            self._at(limit.end_s, self._nothing)
        for fault in self._week.faults:
            self._at(fault.at_s, partial(self._fail, fault))
        for preemption in self._week.preemptions:
            self._at(preemption.at_s, partial(self._preempt, preemption))

    def _at(self, at_s: float, do: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (at_s, next(self._numbers), do))

    def finish(self) -> Side:
        """Run the week."""
        now_s, end_s = 0.0, self._week.lasts_s
        self._begin()
        while now_s < end_s:
            then_s = min(self._next_s(now_s), end_s)
            self._advance(now_s, then_s)
            now_s = then_s
            while self._events and self._events[0][0] <= now_s:
                heapq.heappop(self._events)[2](now_s)
            for gang in self._all():
                self._timers(gang, now_s)
            self._settle(now_s)
        return self._side()

    def _begin(self) -> None:
        """All gangs run already; what they did before is in their newest checkpoint."""
        self._settle(0.0)
        for gang in self._gangs:
            gang.run_s, gang.ready_s = gang.job.begun_s, 0.0
            every_s = self._every_s(gang)
            gang.due_s = every_s - gang.job.begun_s % every_s
        self._settle(0.0)

    def _all(self) -> list[Gang]:
        return [*self._gangs, *self._guests]

    def _up(self) -> list[Gang]:
        return [gang for gang in self._all() if gang.is_up]

    def _next_s(self, now_s: float) -> float:
        event_s = self._events[0][0] if self._events else NEVER
        return min(event_s, *(gang.next_s(now_s) for gang in self._all()))

    # --- time passes ------------------------------------------------------------------

    def _advance(self, now_s: float, then_s: float) -> None:
        lasts_s = then_s - now_s
        for gang in self._all():
            if "preempted" in gang.bars:
                continue  # its nodes are those of a guest
            rate, gpu_w = self._drawn(gang, now_s)
            nodes = sum(node not in self._down for node in gang.job.nodes)
            host_w = _NODE.base_w + (_NODE.cpu_w if gang.is_up else 0.0)
            wall_w = nodes * (host_w + GPUS_PER_NODE * gpu_w) / _NODE.psu_efficiency
            self._j += wall_w * lasts_s
            self._gpu_j += nodes * GPUS_PER_NODE * gpu_w * lasts_s
            gang.work += rate * lasts_s
            gang.run_s += lasts_s if gang.is_up else 0.0
            if rate:
                self._worked_s += gang.nodes * lasts_s
                self._capped_s += gang.nodes * lasts_s * gang.cap_w

    def _drawn(self, gang: Gang, now_s: float) -> Pace:
        """The pace of each of its GPUs."""
        if gang.is_working(now_s):
            return pace(gang.job.kind, gang.cap_w)
        return Pace(0.0, watts_at(WAITING_LEVEL) if gang.is_up else GPU.idle_w)

    # --- what happens -----------------------------------------------------------------

    def _nothing(self, now_s: float) -> None:
        """Watts are divided again, as after every event."""

    def _announce(self, limit: Limit, now_s: float) -> None:
        """The forecast: gangs that the limit will pause save before it."""
        self._feed.announce(limit, now_s)
        ahead = self._feed.ahead(self._up(), now_s) if self._policy.has_forecast else None
        if ahead is None:
            return
        for gang in ahead.gangs:
            save_s = gang.job.kind.save_s(gang.nodes) if gang.has_saved else FIRST_SAVE_S
            gang.ahead_s = max(now_s, ahead.at_s - lead_s(save_s, STEP_S))

    def _fail(self, fault: Fault, now_s: float) -> None:
        gang = next(gang for gang in self._gangs if fault.node in gang.job.nodes)
        if fault.node in self._down or "preempted" in gang.bars:
            return
        self._failures[fault.node] += 1
        self._down.add(fault.node)
        gang.bars.add("node")
        self._end(gang)
        self._at(now_s + REPAIR_S, partial(self._repair, gang, fault.node))

    def _repair(self, gang: Gang, node: int, _now_s: float) -> None:
        self._down.discard(node)
        if self._down.isdisjoint(gang.job.nodes):
            gang.bars.discard("node")

    def _preempt(self, preemption: Preemption, now_s: float) -> None:
        gang = self._gangs[preemption.job]
        if gang.bars & {"node", "preempted"} or gang.leaves_s < NEVER:
            return
        if self._policy.has_forecast and gang.is_working(now_s):
            gang.leave(now_s)
        takes_s = gang.leaves_s if gang.leaves_s < NEVER else now_s
        self._at(takes_s, partial(self._take, preemption))

    def _take(self, preemption: Preemption, now_s: float) -> None:
        """The nodes are taken."""
        gang = self._gangs[preemption.job]
        if "node" in gang.bars:
            return
        if gang.leaves_s <= now_s and gang.is_up:
            gang.saved = gang.work
            self._saves += 1
        self._end(gang)
        gang.bars.add("preempted")
        job = Job(next(self._numbers), FINETUNING, gang.job.nodes, URGENT)
        guest = Gang(job, can_save=False)
        guest.start(now_s, NEVER)
        self._guests.append(guest)
        self._at(now_s + preemption.lasts_s, partial(self._give_back, gang, guest))

    def _give_back(self, gang: Gang, guest: Gang, _now_s: float) -> None:
        self._guests.remove(guest)
        self._useful_s += guest.work * guest.nodes
        gang.bars.discard("preempted")

    def _end(self, gang: Gang) -> None:
        """Its attempt ends, if there is one."""
        if gang.is_loaded:
            for node in gang.job.nodes:
                self._seen_s[node] += gang.run_s
            gang.end()

    # --- saves ------------------------------------------------------------------------

    def _timers(self, gang: Gang, now_s: float) -> None:
        if gang.publish_s <= now_s:
            gang.published()
        if min(gang.due_s, gang.ahead_s) > now_s or not gang.is_working(now_s):
            return
        if gang.publish_s < NEVER:  # one save is open at most
            gang.due_s = gang.publish_s
            return
        gang.save(now_s)
        gang.due_s, gang.ahead_s = gang.waits_until_s + self._every_s(gang), NEVER
        self._saves += 1

    def _every_s(self, gang: Gang) -> float:
        if not self._policy.has_interval:
            return FIXED_EVERY_S
        kind, nodes = gang.job.kind, gang.nodes
        return interval_s(kind.copy_s(nodes), gang.free_s, kind.save_s(nodes))

    # --- watts ------------------------------------------------------------------------

    def _settle(self, now_s: float) -> None:
        """Pause, resume and start gangs by what the feed allows, and divide its watts."""
        for gang in self._gangs:
            if not gang.bars and not gang.is_loaded:
                gang.bars.add("watts")
        seen = [(one.job.number, *sorted(one.bars), one.saves_energy) for one in self._all()]
        given_for = (self._feed.grantable_mw(now_s), seen)
        if given_for == self._divided:
            return
        self._divided = given_for
        chosen = self._feed.divide(self._up(), now_s)
        if not chosen:
            self._resume(now_s)
        while chosen:
            for gang in chosen:
                self._pause(gang)
            chosen = self._feed.divide(self._up(), now_s)

    def _pause(self, gang: Gang) -> None:
        self._pauses += 1
        gang.bars.add("watts")
        if not self._policy.freezes:
            self._end(gang)

    def _resume(self, now_s: float) -> None:
        waiting = [gang for gang in self._gangs if gang.bars == {"watts"}]
        for gang in sorted(waiting, key=lambda one: (-one.job.priority, one.job.number)):
            if self._feed.fits(self._up(), gang):
                gang.bars.clear()
                if not gang.is_loaded:
                    self._start(gang, now_s)
        if waiting:
            self._feed.divide(self._up(), now_s)

    def _start(self, gang: Gang, now_s: float) -> None:
        seen = [(self._failures[node], self._seen_s[node]) for node in gang.job.nodes]
        gang.start(now_s, failure_free_s(seen))
        gang.due_s = gang.ready_s + self._every_s(gang)

    # --- the end ----------------------------------------------------------------------

    def _side(self) -> Side:
        lost_s = 0.0
        for gang in self._all():
            self._useful_s += gang.work * gang.nodes
            lost_s += gang.lost * gang.nodes
        done_s = self._useful_s + lost_s
        hours = self._useful_s * GPUS_PER_NODE / 3_600
        return Side(
            useful_gpu_hours=round(hours, 3),
            kwh=round(self._j / J_PER_KWH, 3),
            gpu_kwh=round(self._gpu_j / J_PER_KWH, 3),
            recomputed_pct=round(100 * lost_s / done_s, 4),
            saves=self._saves,
            pauses=self._pauses,
            restarts=sum(gang.attempts for gang in self._gangs) - len(self._gangs),
            mean_cap_w=round(self._capped_s / self._worked_s, 1),
        )
