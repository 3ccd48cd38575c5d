"""When paused gangs go on: once what they must keep fits beside everything else's keep.

Nothing flutters: room is asked for with a margin above what led to the pause, and a gang that has
to be paused again and again waits longer each time.
"""

from wattline_protocol.ids import Instant, Now
from wattline_protocol.wall import PERMILLE
from wattline_scheduler.core.jobs import Gang, Paused, Running, Starting
from wattline_scheduler.core.leasing import refresh_loads
from wattline_scheduler.core.state import State
from wattline_scheduler.power.matrix import Ints

MIN_PAUSE_S = 3.0
"""A paused gang is left alone for so long; doubled with every pause in a row for want of a keep."""

MAX_PAUSE_S = 120.0

PAUSE_MEMORY_S = 600.0
"""A gang that was paused so long ago is paused for the first time again."""

RESUME_MARGIN_PERMILLE = 20
"""Share of a budget that must stay free when a gang is resumed."""


def pause_counted(gang: Gang, now: Now, *, is_for_keep: bool) -> None:
    """Note a pause: how long the gang is then left alone at least."""
    is_again = is_for_keep and gang.pauses > 0 and now.mono_s - gang.paused_at < PAUSE_MEMORY_S
    gang.pauses = gang.pauses + 1 if is_again else int(is_for_keep)
    gang.paused_at = Instant(now.mono_s)


def hold_s(gang: Gang) -> float:
    """Seconds for which the gang is left alone from its newest pause on."""
    return float(min(MIN_PAUSE_S * 2 ** min(max(gang.pauses - 1, 0), 16), MAX_PAUSE_S))


def resume_where_fits(state: State, now: Now) -> None:
    """Start finding watts for paused gangs whose keeps fit again, highest priority first."""
    for gang in sorted(state.work.paused.values(), key=lambda g: (-g.job.spec.priority, g.key)):
        phase = gang.phase
        if not isinstance(phase, Paused) or phase.is_resuming:
            continue
        if now.mono_s - phase.since < hold_s(gang) or not _is_reachable(state, gang):
            continue
        state.work.move(gang, Paused(phase.since, is_resuming=True), now)
        if _fits(state, gang, now):
            state.wants_rebalance = True
        else:
            state.work.move(gang, phase, now)


def _is_reachable(state: State, gang: Gang) -> bool:
    return all(state.nodes[a.node].is_reachable for a in gang.live)


def _fits(state: State, gang: Gang, now: Now) -> bool:
    """Whether there is room for the keeps of everything that runs and of this gang.

    Where nothing else runs it gives way to nobody: then it may run below its knee, unless its user
    would rather have it wait.
    """
    refresh_loads(state, now)
    fleet, rows = state.fleet, rows_of(state, gang)
    free_mw = state.books.free_for(fleet.nodes.is_set)
    if _has_room(state, rows, free_mw - fleet.matrix.in_rows(fleet.keep_mw())):
        return True
    if gang.job.shape.need.min_performance_permille or rows & rows_of_others(state, gang):
        return False
    return _has_room(state, rows, free_mw - fleet.matrix.in_rows(fleet.floor_mw()))


def _has_room(state: State, rows: set[int], left_mw: Ints) -> bool:
    domains = state.domains
    return all(
        left_mw[row]
        >= domains.budget_mw(domains.rows[row].domain) * RESUME_MARGIN_PERMILLE // PERMILLE
        for row in sorted(rows)
    )


def rows_of(state: State, gang: Gang) -> set[int]:
    """Rows in which the gang's nodes count."""
    return {row for a in gang.live for row, _ in state.domains.rows_of[a.node]}


def rows_of_others(state: State, gang: Gang) -> set[int]:
    """Rows in which any other gang runs or starts."""
    others = state.work.gangs_in(Running, Starting)
    return {row for other in others if other is not gang for row in rows_of(state, other)}
