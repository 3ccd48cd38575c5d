"""Resumes paused gangs once their useful caps fit beside those of all other work.

Hysteresis prevents flapping: a resume needs a margin above the limit that led to the pause, and a
gang that is paused repeatedly waits longer each time.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from wattline_protocol.ids import Instant, NodeId, Now
from wattline_protocol.site.wall_power import PERMILLE
from wattline_scheduler.core.leases.lease_load import load_of
from wattline_scheduler.core.leases.leases import refresh_loads
from wattline_scheduler.core.model.jobs.job import Gang, Paused, Running, Starting
from wattline_scheduler.core.model.state import State
from wattline_scheduler.power.demand.node_load import NodeLoad
from wattline_scheduler.power.topology.rows import counted_mw

MIN_PAUSE_S = 3.0
"""Minimum length of a pause; doubled with every pause in a row for lack of its useful cap."""

MAX_PAUSE_S = 120.0

PAUSE_MEMORY_S = 600.0
"""Time after which a pause no longer counts towards a row of pauses."""

RESUME_MARGIN_PERMILLE = 20
"""Share of a budget that must stay free when a gang is resumed."""


def pause_counted(gang: Gang, now: Now, *, is_for_useful: bool) -> None:
    """Counts a pause, which sets the minimum length of the current one."""
    is_again = is_for_useful and gang.pauses > 0 and now.mono_s - gang.paused_at < PAUSE_MEMORY_S
    gang.pauses = gang.pauses + 1 if is_again else int(is_for_useful)
    gang.paused_at = Instant(now.mono_s)


def min_pause_s(gang: Gang) -> float:
    """Minimum length of the gang's newest pause, in seconds."""
    return float(min(MIN_PAUSE_S * 2 ** min(max(gang.pauses - 1, 0), 16), MAX_PAUSE_S))


class Lacking(NamedTuple):
    """A paused gang, and what its useful caps lack in each row; wall milliwatts."""

    gang: Gang
    short_mw: dict[int, int]


def resume_where_fits(state: State, now: Now) -> Lacking | None:
    """Obtains watts for paused gangs whose useful caps fit again, highest priority first. Returns
    the first one that does not fit."""
    waiting = [gang for gang in state.work.paused.values() if _may_resume(state, gang, now)]
    if not waiting:
        return None
    headroom = ResumeHeadroom(state, now)
    first = None
    for gang in sorted(waiting, key=lambda g: (-g.job.spec.priority, g.key)):
        if headroom.resume_if_fits(gang):
            continue
        first = first or Lacking(gang, headroom.lacking(gang))
        if _resumes_first(state, gang, now):
            break
    return first


def _resumes_first(state: State, gang: Gang, now: Now) -> bool:
    """Whether others were paused for it: the watts that become free are not for those after it."""
    if state.resumes_first is None:
        return False
    key, until_s = state.resumes_first
    return gang.key == key and now.mono_s < until_s


def _may_resume(state: State, gang: Gang, now: Now) -> bool:
    phase = gang.phase
    if (
        not isinstance(phase, Paused)
        or phase.is_resuming
        or now.mono_s - phase.since < min_pause_s(gang)
    ):
        return False
    return all(state.nodes[a.node].is_reachable for a in gang.live)


class ResumeHeadroom:
    """Watts free beside all running work, and beside the gangs resumed before.

    Updated gang by gang: a site may have thousands of paused ones.
    """

    def __init__(self, state: State, now: Now) -> None:
        refresh_loads(state, now)
        fleet, domains = state.fleet, state.domains
        free_mw = state.books.free_for(fleet.nodes.is_set)
        self._state, self._now = state, now
        useful_mw, floor_mw = map(fleet.matrix.in_rows, (fleet.useful_mw(), fleet.floor_mw()))
        self.left_at_useful: list[int] = (free_mw - useful_mw).tolist()
        """Wall milliwatts of each row beside useful caps; likewise beside the floors alone."""
        self.left_at_floors: list[int] = (free_mw - floor_mw).tolist()
        self._margin = [
            domains.budget_mw(row.domain) * RESUME_MARGIN_PERMILLE // PERMILLE
            for row in domains.rows
        ]
        self._served = {
            row for gang in state.work.gangs_in(Running, Starting) for row in rows_of(state, gang)
        }
        """Rows in which other gangs run or start."""
        self._loads: dict[NodeId, NodeLoad] = {}
        """Loads of nodes with a resumed gang."""

    def resume_if_fits(self, gang: Gang) -> bool:
        """Resumes a paused gang if it fits: its watts are then no longer free. Returns whether."""
        phase = gang.phase
        if not isinstance(phase, Paused) or not self._take(gang):
            return False
        self._state.work.move(gang, Paused(phase.since, is_resuming=True), self._now)
        self._state.wants_rebalance = True
        return True

    def lacking(self, gang: Gang) -> dict[int, int]:
        """What the useful caps of a gang lack in its rows, the margin included."""
        left_mw = {row: self.left_at_useful[row] for row in rows_of(self._state, gang)}
        self._take_off(left_mw, self._with(gang), lambda load: load.useful_mw)
        short_mw = {row: self._margin[row] - mw for row, mw in left_mw.items()}
        return {row: mw for row, mw in short_mw.items() if mw > 0}

    def _take(self, gang: Gang) -> bool:
        """Takes the gang's watts if it fits; returns whether it does.

        Where nothing else runs it may run below its knee, since no other gang needs its watts,
        unless its `min_performance` forbids that.
        """
        rows = rows_of(self._state, gang)
        is_alone = not (gang.job.shape.need.min_performance_permille or rows & self._served)
        if not (self._fits(rows, self.left_at_useful) or is_alone):
            return False  # not even without its own watts
        loads = self._with(gang)
        useful = {row: self.left_at_useful[row] for row in rows}
        floors = {row: self.left_at_floors[row] for row in rows}
        self._take_off(useful, loads, lambda load: load.useful_mw)
        self._take_off(floors, loads, lambda load: load.floor_mw)
        if not (self._fits(rows, useful) or (is_alone and self._fits(rows, floors))):
            return False
        for left_mw, after in ((self.left_at_useful, useful), (self.left_at_floors, floors)):
            for row, mw in after.items():
                left_mw[row] = mw
        self._loads |= loads
        return True

    def _with(self, gang: Gang) -> dict[NodeId, NodeLoad]:
        """Loads of its nodes once it runs; omits nodes counted at their committed watts."""
        state = self._state
        names = (a.node for a in gang.live if a.node in state.fleet.loads)
        return {name: load_of(state, state.nodes[name], self._now, also=gang) for name in names}

    def _take_off(
        self,
        left_mw: dict[int, int],
        loads: Mapping[NodeId, NodeLoad],
        wall_mw: Callable[[NodeLoad], int],
    ) -> None:
        """Subtracts the growth of these loads over those counted before them."""
        state = self._state
        for node, load in loads.items():
            before = self._loads.get(node, state.fleet.loads[node])
            for row, share in state.domains.rows_of[node]:
                grows_mw = counted_mw(wall_mw(load), share) - counted_mw(wall_mw(before), share)
                left_mw[row] -= grows_mw

    def _fits(self, rows: set[int], left_mw: Mapping[int, int] | list[int]) -> bool:
        return all(left_mw[row] >= self._margin[row] for row in rows)


def rows_of(state: State, gang: Gang) -> set[int]:
    """Rows in which the gang's nodes count."""
    return {row for a in gang.live for row, _ in state.domains.rows_of[a.node]}
