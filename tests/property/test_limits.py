"""Whatever limits there are: the budget is the least of them, and what is granted fits it."""

from hypothesis import given
from hypothesis import strategies as st

from wattline_protocol.ids import DomainId, Instant
from wattline_scheduler.power.topology.budgets import STEP_S, Limit, Limits

SITE = DomainId("site")
FULL_MW = 40_000_000
TIMES = st.floats(0, 2_000, allow_nan=False)
RAMPS = st.one_of(st.just(0.0), st.floats(0.01, 600))


@st.composite
def limits_of_one_domain(draw: st.DrawFn) -> list[Limit]:
    some = []
    for number in range(draw(st.integers(0, 5))):
        start = Instant(draw(TIMES))
        lasts_s = draw(st.one_of(st.none(), st.floats(0, 1_000)))
        some.append(
            Limit(
                domain=SITE,
                name=f"limit {number}",
                source="operator",
                value_mw=draw(st.integers(0, FULL_MW * 2)),
                start=start,
                ramp_s=draw(RAMPS),
                end=None if lasts_s is None else Instant(start + lasts_s),
                release_s=draw(RAMPS),
            )
        )
    return some


def in_force(limits: list[Limit]) -> Limits:
    every = Limits({SITE: FULL_MW})
    for limit in limits:
        every.put(limit, limit.start)
    return every


@given(limits_of_one_domain(), TIMES)
def test_the_budget_is_the_least_and_never_above_the_full_one(
    limits: list[Limit], time: float
) -> None:
    now = Instant(time)
    every = in_force(limits)
    budget_mw = every.budget_mw(SITE, now)
    least_mw = min((one.at_mw(now, FULL_MW) for one in every), default=FULL_MW)
    assert 0 <= budget_mw == min(least_mw, FULL_MW)
    binding = every.binding(SITE, now)
    assert (binding is None) == (budget_mw == FULL_MW)


@given(limits_of_one_domain(), TIMES, st.floats(0, 1))
def test_what_is_granted_keeps_the_budget_for_a_step_to_come(
    limits: list[Limit], time: float, later: float
) -> None:
    """Unless a step ends and another begins inside: straight lines bend only at their ends."""
    now, every = Instant(time), in_force(limits)
    granted_mw = every.granted_mw(SITE, now)
    assert granted_mw <= every.budget_mw(SITE, now)
    bends = {t for one in every for t in (one.start, one.start + one.ramp_s, one.end, one.over_at)}
    if not any(t is not None and now <= t <= now + 2 * STEP_S for t in bends):
        then = Instant(now + later * STEP_S)
        assert granted_mw <= every.budget_mw(SITE, then) + 1  # milliwatt of rounding


@given(limits_of_one_domain(), st.floats(0, 1e9), TIMES)
def test_a_limit_moved_in_time_is_the_same_limit(
    limits: list[Limit], moved_s: float, time: float
) -> None:
    """What a restart does: the same record on another monotonic clock."""
    for limit in in_force(limits):
        there = Limit(
            domain=limit.domain,
            name=limit.name,
            source=limit.source,
            value_mw=limit.value_mw,
            start=Instant(limit.start + moved_s),
            from_mw=limit.from_mw,
            ramp_s=limit.ramp_s,
            end=None if limit.end is None else Instant(limit.end + moved_s),
            release_s=limit.release_s,
        )
        bends = (limit.start, limit.end, limit.over_at)
        if any(t is not None and abs(t - time) < 1e-3 for t in bends) or limit.ramp_s < 1:
            continue
        if 0 < limit.release_s < 1:
            continue
        here_mw = limit.at_mw(Instant(time), FULL_MW)
        there_mw = there.at_mw(Instant(time + moved_s), FULL_MW)
        assert abs(here_mw - there_mw) <= 100  # floats carry a microsecond at 1e9 s
