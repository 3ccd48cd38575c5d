"""Running gangs of a snapshot that may be preempted, or are ending: by node, and by quota."""

from collections.abc import Sequence
from functools import cached_property
from heapq import nsmallest
from itertools import chain

from wattline_scheduler.plan.model.shape import GangKey
from wattline_scheduler.plan.model.snapshot import RunningGang, Snapshot

MAX_GANGS_OF_QUOTA = 512
"""Maximum number of gangs evaluated per quota, from the lowest priority on: each is compared with
the others, and one quota may count as many gangs as there are GPUs."""


class RunningWork:
    """Lost work as of the snapshot's time; gangs that are protected are left out."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._now = snapshot.now
        self._running = snapshot.running
        self._is_any = snapshot.preempts_protected
        self._on: dict[int, tuple[RunningGang, ...]] = {}
        self._within: dict[int, tuple[RunningGang, ...]] = {}

    def on(self, at: int) -> tuple[RunningGang, ...]:
        """Those on the node at a position."""
        if not self._running:
            return ()
        known = self._on.get(at)
        if known is None:
            known = self._on[at] = self._preemptible(self._running[at])
        return known

    def within(self, quota: int) -> tuple[RunningGang, ...]:
        """Those that count in a quota, lowest priority first."""
        known = self._within.get(quota)
        if known is None:
            counted = self._by_quota.get(quota, ())
            first = nsmallest(MAX_GANGS_OF_QUOTA, counted, key=lambda one: (one.priority, one.key))
            known = self._within[quota] = self._preemptible(first)
        return known

    def _preemptible(self, gangs: Sequence[RunningGang]) -> tuple[RunningGang, ...]:
        now = self._now
        return tuple(one.as_of(now) for one in gangs if self._is_any or one.protected_until <= now)

    @cached_property
    def _by_quota(self) -> dict[int, list[RunningGang]]:
        gangs: dict[GangKey, RunningGang] = {
            one.key: one for one in chain.from_iterable(self._running) if one.quotas
        }
        found: dict[int, list[RunningGang]] = {}
        for one in gangs.values():
            for quota in one.quotas:
                found.setdefault(quota, []).append(one)
        return found
