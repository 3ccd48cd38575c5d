"""Hypothetical snapshots with some gangs removed, cached for one explain query.

A query tries many prefixes of the same ends: after the fifth, the tenth, the seventh. The cache
stores one snapshot per set of gangs, one node offer per set of attempts removed from that node, and
the feasibility and cost of shapes. It never changes an answer; a test checks this.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from wattline_protocol.ids import NodeId, Now, UnixTime
from wattline_scheduler.core.admission.planner_view import offer_of, snapshot, snapshot_of
from wattline_scheduler.core.model.gpu_holders import release
from wattline_scheduler.core.model.jobs.job import Attempt, Gang
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.model.snapshot import NodeOffer, QuotaRoom, Snapshot
from wattline_scheduler.plan.search.score_cache import Looks
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.time_slices import Parts


class Gone:
    """The cached snapshots; valid as long as the state does not change (`frozen_view`)."""

    def __init__(self, state: State, now: Now) -> None:
        self._state, self._now = state, now
        self._seen: dict[tuple[Gang, ...], tuple[Snapshot, Looks]] = {}
        self._offers: dict[tuple[Attempt, ...], NodeOffer] = {}

    def without(self, gone: Sequence[Gang]) -> Parts[Snapshot]:
        """Snapshot with these gangs removed."""
        seen, _ = yield from self._known(gone)
        return seen

    def trial(
        self, gone: Sequence[Gang], at_s: float = 0.0, later_s: float = 0.0
    ) -> Parts[AbstractContextManager[Trial]]:
        """Placement trial with these gangs removed; one at a time.

        `at_s`, `later_s`: quota headroom and reservations as of that much later.
        """
        seen, looks = yield from self._known(gone)
        return self._trial(seen, looks, gone, at_s, later_s)

    @contextmanager
    def _trial(
        self, seen: Snapshot, looks: Looks, gone: Sequence[Gang], at_s: float, later_s: float
    ) -> Iterator[Trial]:
        reservations = seen.reservations
        if later_s and reservations is not None:
            reservations = reservations.later(later_s)
        rooms = quota_rooms(self._state, gone, UnixTime(self._now.unix_s + at_s))
        trial = Trial(replace(seen, quotas=rooms, reservations=reservations), looks)
        try:
            yield trial
        finally:
            trial.close()

    def _known(self, gone: Sequence[Gang]) -> Parts[tuple[Snapshot, Looks]]:
        key = tuple(gone)
        known = self._seen.get(key)
        if known is None:
            seen = yield from self._made(gone)
            known = self._seen[key] = seen, Looks()
        return known

    def _made(self, gone: Sequence[Gang]) -> Parts[Snapshot]:
        state, emptied = self._state, dict[NodeId, list[Attempt]]()
        for attempt in (one for gang in gone for one in state.work.live_of(gang)):
            emptied.setdefault(attempt.node, []).append(attempt)
        seen = snapshot(state, self._now)  # refreshes the current offers
        if not emptied:
            return seen
        as_if = state.picture.as_if()
        for attempts in emptied.values():
            yield
            as_if.put(self._offer(tuple(attempts)))
        return snapshot_of(state, as_if, self._now)

    def _offer(self, going: tuple[Attempt, ...]) -> NodeOffer:
        """Offer of their node without them."""
        known = self._offers.get(going)
        if known is None:
            node = self._state.nodes[going[0].node].copy()
            for attempt in going:
                _take_away(node, attempt)
            before = self._state.picture.offers[self._state.picture.position[node.id]]
            known = self._offers[going] = offer_of(self._state, node, self._now, before)
        return known


def quota_rooms(state: State, gone: Iterable[Gang], unix_s: UnixTime) -> tuple[QuotaRoom, ...]:
    """Quota headroom with these gangs removed, at that time."""
    rooms = list(state.work.quotas.rooms())
    for attempt in (attempt for gang in gone for attempt in state.work.live_of(gang)):
        for at in attempt.quotas:
            room = rooms[at]
            rooms[at] = replace(
                room,
                used_milli=room.used_milli - attempt.quota_milli,
                used_mw=room.used_mw - attempt.quota_mw,
            )
    for at, one in enumerate(state.work.quotas.all):
        if one.resets_unix_s is not None and one.resets_unix_s <= unix_s:
            rooms[at] = replace(rooms[at], closed="")
    return tuple(rooms)


def _take_away(node: NodeNow, attempt: Attempt) -> None:
    shape = attempt.gang.job.shape
    release(node, attempt)
    node.cpus_used -= shape.cpus
    node.memory_used_bytes -= shape.memory_bytes
