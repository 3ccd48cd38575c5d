"""Whatever limits are known: the forecast is the budget that comes, and so are its crossings."""

from hypothesis import given
from hypothesis import strategies as st

from wattline_protocol.ids import DomainId, Instant
from wattline_scheduler.power.topology.budget_forecast import EXACT_S, BudgetAhead
from wattline_scheduler.power.topology.budgets import Limit, Limits

SITE = DomainId("site")
FULL_MW = 1_000_000
BEGIN, UNTIL = Instant(100.0), Instant(700.0)
LEVELS = st.integers(0, FULL_MW)


@st.composite
def limits(draw: st.DrawFn) -> list[Limit]:
    """Some begun and some planned, by start; each with a name of its own."""
    some = []
    for number in range(draw(st.integers(1, 4))):
        start = Instant(float(draw(st.integers(0, 800))))
        lasts_s = draw(st.none() | st.integers(0, 500))
        limit = Limit(
            domain=SITE,
            name=f"limit {number}",
            source="operator",
            value_mw=draw(LEVELS),
            start=start,
            ramp_s=float(draw(st.integers(0, 300))),
            end=None if lasts_s is None else Instant(start + lasts_s),
            release_s=float(draw(st.integers(0, 100))),
        )
        some.append(limit)
    return sorted(some, key=lambda one: (one.start, one.name))


def forecast(some: list[Limit]) -> BudgetAhead:
    """As at `BEGIN`: those that started by then have begun."""
    known = Limits({SITE: FULL_MW})
    begun = [known.put(one, one.start) for one in some if one.start <= BEGIN]
    return BudgetAhead.of(FULL_MW, begun, [one for one in some if one.start > BEGIN])


@given(limits(), st.integers(100, 700))
def test_it_is_the_budget_that_comes(some: list[Limit], at_s: int) -> None:
    at, real = Instant(float(at_s)), Limits({SITE: FULL_MW})
    for one in some:
        real.put(one, one.start)
    ahead = forecast(some)
    assert ahead.at_mw(at) == real.budget_mw(SITE, at)
    binding = ahead.binding(at)
    assert (binding is None) == (ahead.at_mw(at) == FULL_MW)


@given(limits(), LEVELS)
def test_a_crossing_is_the_first_moment_below(some: list[Limit], level_mw: int) -> None:
    ahead = forecast(some)
    at = ahead.falls_to(level_mw, BEGIN, UNTIL)
    last_s = UNTIL if at is None else at - EXACT_S
    before = [Instant(BEGIN + (UNTIL - BEGIN) * part / 60) for part in range(61)]
    assert all(ahead.at_mw(moment) > level_mw for moment in before if moment <= last_s)
    if at is not None:
        assert ahead.at_mw(at) <= level_mw


@given(limits())
def test_the_lowest_is_reached_and_nothing_is_below(some: list[Limit]) -> None:
    ahead = forecast(some)
    lowest_mw = ahead.lowest_mw(BEGIN, UNTIL)
    assert ahead.falls_to(lowest_mw, BEGIN, UNTIL) is not None
    assert ahead.falls_to(lowest_mw - 1, BEGIN, UNTIL) is None
