"""Hypothetical snapshots with some gangs removed, cached for one explain query.

A query tries many prefixes of the same ends: after the fifth, the tenth, the seventh. The cache
stores one snapshot per set of gangs, one node offer per set of attempts removed from that node, and
the feasibility and cost of shapes. It never changes an answer; a test checks this.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from wattline_protocol.ids import NodeId, Now, UnixTime
from wattline_scheduler.core.admission.planner_view import current_picture, offer_of, snapshot_of
from wattline_scheduler.core.model.gpu_holders import release
from wattline_scheduler.core.model.jobs.job import Attempt, Gang
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.model.snapshot import NodeOffer, QuotaRoom, Snapshot
from wattline_scheduler.plan.search.score_cache import Looks
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.time_slices import Parts


class HypotheticalCache:
    """The cached snapshots; valid as long as the state does not change (`frozen_view`)."""

    def __init__(self, state: State, now: Now) -> None:
        self._state, self._now = state, now
        self._seen: dict[tuple[Gang, ...], tuple[Snapshot, Looks]] = {}
        self._offers: dict[tuple[Attempt, ...], NodeOffer] = {}

    def without(self, removed: Sequence[Gang]) -> Parts[Snapshot]:
        """Snapshot with these gangs removed."""
        seen, _ = yield from self._known(removed)
        return seen

    def trial(
        self, removed: Sequence[Gang], at_s: float = 0.0, later_s: float = 0.0
    ) -> Parts[AbstractContextManager[Trial]]:
        """Placement trial with these gangs removed; one at a time.

        `at_s`, `later_s`: quota headroom and reservations as of that much later.
        """
        seen, looks = yield from self._known(removed)
        return self._trial(seen, looks, removed, at_s, later_s)

    @contextmanager
    def _trial(
        self, seen: Snapshot, looks: Looks, removed: Sequence[Gang], at_s: float, later_s: float
    ) -> Iterator[Trial]:
        reservations = seen.reservations
        if later_s and reservations is not None:
            reservations = reservations.later(later_s)
        headrooms = quota_headrooms(self._state, removed, UnixTime(self._now.unix_s + at_s))
        trial = Trial(replace(seen, quotas=headrooms, reservations=reservations), looks)
        try:
            yield trial
        finally:
            trial.close()

    def _known(self, removed: Sequence[Gang]) -> Parts[tuple[Snapshot, Looks]]:
        key = tuple(removed)
        known = self._seen.get(key)
        if known is None:
            seen = yield from self._made(removed)
            known = self._seen[key] = seen, Looks()
        return known

    def _made(self, removed: Sequence[Gang]) -> Parts[Snapshot]:
        state, emptied = self._state, dict[NodeId, list[Attempt]]()
        for attempt in (one for gang in removed for one in state.work.live_of(gang)):
            emptied.setdefault(attempt.node, []).append(attempt)
        picture = current_picture(state, self._now)
        if not emptied:
            return snapshot_of(state, picture, self._now)
        as_if = picture.as_if()
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
                _remove(node, attempt)
            picture = current_picture(self._state, self._now)
            before = picture.offers[picture.position[node.id]]
            known = self._offers[going] = offer_of(self._state, node, self._now, before)
        return known


def quota_headrooms(
    state: State, removed: Iterable[Gang], unix_s: UnixTime
) -> tuple[QuotaRoom, ...]:
    """Quota headroom with these gangs removed, at that time."""
    headrooms = list(state.work.quotas.headrooms())
    for attempt in (attempt for gang in removed for attempt in state.work.live_of(gang)):
        for at in attempt.quotas:
            headroom = headrooms[at]
            headrooms[at] = replace(
                headroom,
                used_milli=headroom.used_milli - attempt.quota_milli,
                used_mw=headroom.used_mw - attempt.quota_mw,
            )
    for at, one in enumerate(state.work.quotas.all):
        if one.resets_unix_s is not None and one.resets_unix_s <= unix_s:
            headrooms[at] = replace(headrooms[at], closed="")
    return tuple(headrooms)


def _remove(node: NodeNow, attempt: Attempt) -> None:
    shape = attempt.gang.job.shape
    release(node, attempt)
    node.cpus_used -= shape.cpus
    node.memory_used_bytes -= shape.memory_bytes
