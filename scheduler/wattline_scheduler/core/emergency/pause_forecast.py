"""Which gangs budgets will pause in the next minutes, and when: the same choice as `pausing`, made
for the lowest budget that the known limits bring.

Demand is taken as it is now. A forecast that no longer holds is replaced a heartbeat later.
"""

from collections.abc import Mapping, Sequence

from wattline_protocol.ids import DomainId, Instant, Now
from wattline_protocol.text.wording import power_text
from wattline_scheduler.core.emergency.pausing import (
    PAUSE_TAKES_S,
    pausable,
    relief_of,
    to_pause,
    to_pause_for_useful_caps,
)
from wattline_scheduler.core.emergency.resuming import rows_of
from wattline_scheduler.core.leases.budget_limits import limit_of
from wattline_scheduler.core.model.jobs.job import Gang
from wattline_scheduler.core.model.state import PauseAhead, State
from wattline_scheduler.plan.model.shape import GangKey
from wattline_scheduler.power.topology.budget_forecast import BudgetAhead
from wattline_scheduler.power.topology.budgets import STEP_S, Limit

HORIZON_S = 600.0
"""How far ahead tasks are notified: longer than any save that is not made in the background."""

OVERDUE_S = 20.0
"""How long an interruption that has not come by its time is still announced."""

LEADS_S = 2 * STEP_S
"""Leases are sized for the lowest budget of the next two steps."""


S_PER_ATTEMPT = 0.001
"""Time between two forecasts for each attempt that runs: a bounded share of the scheduler's time
on a large site, on which a forecast takes longer."""


def tick_pauses_ahead(state: State, now: Now) -> None:
    """Forecasts again, once a heartbeat, or less often on a large site."""
    if now.mono_s - state.forecast_at < S_PER_ATTEMPT * len(state.work.live):
        return
    state.forecast_at = now.mono_s
    state.pauses_ahead = forecast_pauses(state, now)


def forecast_pauses(state: State, now: Now) -> dict[GangKey, PauseAhead]:
    """The first pause of each gang within the horizon; empty while no budget is to fall."""
    until = Instant(now.mono_s + HORIZON_S)
    falling = {
        domain: ahead
        for domain, ahead in _budgets_ahead(state, now).items()
        if ahead.lowest_mw(now.mono_s, until) < ahead.at_mw(now.mono_s)
    }
    if not falling:
        return {}
    fleet, matrix = state.fleet, state.fleet.matrix
    free_mw = state.books.free_for(fleet.nodes.is_set)
    spare = [(free_mw - matrix.in_rows(fleet.floor_mw())).tolist()]
    spare.append((free_mw - matrix.in_rows(fleet.useful_mw())).tolist())
    found: dict[GangKey, PauseAhead] = {}
    for for_useful, spare_mw in zip((False, True), spare, strict=True):
        short_mw = _short(state, falling, spare_mw, now)
        if not short_mw:
            continue
        gangs = (
            to_pause_for_useful_caps(state, short_mw)
            if for_useful
            else to_pause(state, short_mw, pausable(state))
        )
        for key, pause in _dated(
            state, gangs, falling, spare_mw, set(short_mw), now, for_useful=for_useful
        ):
            if key not in found or pause.at < found[key].at:
                found[key] = pause
    return found


def _budgets_ahead(state: State, now: Now) -> dict[DomainId, BudgetAhead]:
    """Of each domain with a limit that is in force or begins within the horizon."""
    planned: dict[DomainId, list[Limit]] = {}
    for record in state.limits.values():
        if record.phase == "planned" and record.start_unix_s <= now.unix_s + HORIZON_S:
            planned.setdefault(record.domain, []).append(limit_of(record, now))
    limits = state.domains.limits
    return {
        domain: BudgetAhead.of(limits.full_mw(domain), limits.of(domain), planned.get(domain, ()))
        for domain in dict.fromkeys([*(one.domain for one in limits), *planned])
    }


def _short(
    state: State, falling: Mapping[DomainId, BudgetAhead], spare_mw: Sequence[int], now: Now
) -> dict[int, int]:
    """Rows in which floors or useful caps will not fit, and by how much at the lowest."""
    until, short = Instant(now.mono_s + HORIZON_S), dict[int, int]()
    for domain, ahead in falling.items():
        falls_mw = ahead.at_mw(now.mono_s) - ahead.lowest_mw(now.mono_s, until)
        for row in state.domains.rows_in[domain]:
            if falls_mw > spare_mw[row]:
                short[row] = falls_mw - spare_mw[row]
    return short


def _dated(
    state: State,
    gangs: Sequence[Gang],
    falling: Mapping[DomainId, BudgetAhead],
    spare_mw: Sequence[int],
    short: set[int],
    now: Now,
    *,
    for_useful: bool,
) -> list[tuple[GangKey, PauseAhead]]:
    """When each is paused: once what is spare, and what those before it freed, is used up."""
    freed_mw, found = dict.fromkeys(short, 0), list[tuple[GangKey, PauseAhead]]()
    lead_s = LEADS_S if for_useful else LEADS_S + PAUSE_TAKES_S
    for gang in gangs:
        times = []
        for row in sorted(rows_of(state, gang) & short):
            domain = state.domains.rows[row].domain
            ahead = falling[domain]
            level_mw = ahead.at_mw(now.mono_s) - spare_mw[row] - freed_mw[row] - 1
            begin, until = Instant(now.mono_s - OVERDUE_S), Instant(now.mono_s + HORIZON_S)
            at = ahead.falls_to(level_mw, begin, until)
            if at is not None:
                times.append((at, domain))
        for row, mw in relief_of(state, [gang], for_useful=for_useful).items():
            if row in freed_mw:
                freed_mw[row] += mw
        if times:
            at, domain = min(times)
            found.append((gang.key, _pause(domain, falling[domain], at, lead_s)))
    return found


def _pause(domain: DomainId, ahead: BudgetAhead, at: Instant, lead_s: float) -> PauseAhead:
    limit = ahead.binding(at)
    is_scheduled = limit is not None and limit.source == "schedule"
    by = "" if limit is None else f" by {limit.name}"
    why = f"the budget of {domain} falls to {power_text(ahead.at_mw(at))}{by}"
    return PauseAhead(Instant(at - lead_s), is_scheduled, why)
