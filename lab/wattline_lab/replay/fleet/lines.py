"""Order of pending gangs: by submission, or as in the scheduler's own queue."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import islice
from typing import Protocol

from wattline_lab.replay.fleet.gangs import Gang
from wattline_protocol.site.model import FairShare, Timing
from wattline_scheduler.core.model.queue.expected_service import Service
from wattline_scheduler.core.model.queue.job_class import ClassKey
from wattline_scheduler.core.model.queue.queue_order import Order
from wattline_scheduler.core.model.queue.runtime_bounds import RuntimeBounds
from wattline_scheduler.plan.learning.fairshare import NOTHING, FairTree, Level, Use
from wattline_scheduler.plan.model.columns import GpuClasses

RULES = FairShare()
"""Accounts have equal shares."""

REFRESH_S = 300.0
"""How often what accounts used is added up."""

SHOWN = 32
"""Of equal gangs a cycle is shown so many; where all of them fit, another cycle follows."""

HOUR_S = 3600.0
MW_PER_KW = 1e6


class Line(Protocol):
    """All gangs that wait."""

    def arrived(self, gang: Gang) -> None:
        """It waits from now on."""

    def started(self, gang: Gang) -> None:
        """It waits no more."""

    def ended(self, gang: Gang, now_s: float) -> None:
        """It ran, and has ended."""

    def ordered(self, now_s: float) -> Iterable[Gang]:
        """First served first."""


class BySubmission:
    """First come, first served."""

    def __init__(self) -> None:
        self._waiting: dict[Gang, None] = {}

    def arrived(self, gang: Gang) -> None:
        """Goes to the end."""
        self._waiting[gang] = None

    def started(self, gang: Gang) -> None:
        """Leaves."""
        del self._waiting[gang]

    def ended(self, gang: Gang, now_s: float) -> None:
        """Changes nothing."""

    def ordered(self, now_s: float) -> Iterable[Gang]:
        """As they came."""
        del now_s
        return self._waiting


class ByTurn:
    """As a scheduler's own queue: the account that used least for its shares, then age, counted
    from when what the job is expected to take is due. The parts are `core`'s."""

    def __init__(self) -> None:
        self.order = Order(FairTree(RULES, ()), Service(Timing().overtake_s, GpuClasses()))
        self._longest = RuntimeBounds()
        self._lines: dict[ClassKey, dict[Gang, None]] = {}
        """Each by submission."""
        self._key: dict[Gang, ClassKey] = {}
        self._unknown: dict[str, dict[Gang, None]] = defaultdict(dict)
        """Those that wait of kinds of which too little is known, by kind."""
        self._use: dict[str, Use] = {}
        self._running: dict[str, Use] = {}
        """What each account uses in an hour."""
        self._followed_s = 0.0

    def arrived(self, gang: Gang) -> None:
        """Joins its job class: gangs that differ only in age."""
        kind = gang.size if self._longest.knows(gang.size) else ""
        if not kind:
            self._unknown[gang.size][gang] = None
        account = gang.asked.job.account
        key = ClassKey(gang.shape, account, "", kind, 0.0, 0.0, is_service=False, is_late=False)
        self._key[gang] = key
        self._lines.setdefault(key, {})[gang] = None

    def started(self, gang: Gang) -> None:
        """Leaves its line."""
        self._leave(gang)
        self._unknown.get(gang.size, {}).pop(gang, None)
        self._draws(gang, 1.0)

    def _leave(self, gang: Gang) -> None:
        key = self._key.pop(gang)
        line = self._lines[key]
        del line[gang]
        if not line:
            del self._lines[key]

    def _draws(self, gang: Gang, sign: float) -> None:
        account = gang.asked.job.account
        kwh = gang.gpus * gang.demand_mw / MW_PER_KW
        more = Use(sign * gang.gpus, sign * kwh)
        self._running[account] = self._running.get(account, NOTHING) + more

    def ended(self, gang: Gang, now_s: float) -> None:
        """Teaches how long its kind runs; of a kind that is known by now all may move up."""
        account, held_s = gang.asked.job.account, now_s - gang.start_s
        self.order.service.learn(account, gang.shape, gang.size, held_s, is_end=True)
        self._draws(gang, -1.0)
        if self._longest.note(gang.size, held_s):
            for one in self._unknown.pop(gang.size, {}):
                self._leave(one)
                self.arrived(one)

    def ordered(self, now_s: float) -> Iterable[Gang]:
        """Of each line the first `SHOWN`."""
        self._follow(now_s)
        seen: list[tuple[tuple[int, Level], float, int, Gang]] = []
        for key, line in self._lines.items():
            rank = self.order.rank(key)
            for gang in islice(line, SHOWN):
                job = gang.asked.job
                seen.append((rank.before, job.submit_s + rank.later_s, job.id, gang))
        seen.sort(key=lambda entry: entry[:3])
        return [gang for *_, gang in seen]

    def _follow(self, now_s: float) -> None:
        """Add up what accounts used, older use counting less."""
        hours = (now_s - self._followed_s) / HOUR_S
        if hours * HOUR_S < REFRESH_S:
            return
        self._followed_s = now_s
        keeps = 0.5 ** (hours * HOUR_S / RULES.half_life_s)
        for account, running in self._running.items():
            old = self._use.get(account, NOTHING)
            self._use[account] = Use(
                keeps * old.gpu_hours + hours * running.gpu_hours,
                keeps * old.energy_kwh + hours * running.energy_kwh,
            )
        self.order.note(self._use)
