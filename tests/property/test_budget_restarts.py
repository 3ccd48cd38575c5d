"""Whatever was asked for, whenever the scheduler restarts: the budgets are what they would be."""

from collections.abc import Callable

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from support.core.harness import BEAT_S, UNIX_START, Harness
from support.core.sites import site
from wattline_protocol.ids import DomainId
from wattline_protocol.site.model import Schedule, Site
from wattline_protocol.wire.client_messages import (
    CancelGridEvent,
    GridEvent,
    Request,
    Restore,
    Shed,
)
from wattline_scheduler.core.model.events import TimePassed

SITE = DomainId("site")
FULL_MW = 14_000_000
STEP_S = 20
"""Things are asked for at whole steps, and restarts come half way: nothing begins meanwhile."""

WINDOW = Schedule(SITE, ("Tue 22:15-22:17",), 11_000_000, ramp_s=30.0, release_s=20.0)
"""From 100 s to 220 s after the start."""

SHARES = st.sampled_from([0.1, 0.25, 0.5])
RAMPS = st.sampled_from([0.0, 7.0, 30.0])
STEPS = st.integers(1, 8)


def built(*, with_window: bool) -> Site:
    plain = site().rack("a", 1, kw=14.0).site_budget(14.0).build()
    return msgspec.structs.replace(plain, schedules=(WINDOW,) if with_window else ())


@st.composite
def requests(draw: st.DrawFn) -> Callable[[float], Request]:
    """A request, given the time at which it is asked."""
    share, ramp_s, release_s = draw(SHARES), draw(RAMPS), draw(RAMPS)
    lasts_s, later_s = STEP_S * draw(STEPS) + 20, STEP_S * draw(STEPS)
    id_ = draw(st.sampled_from(["e1", "e2"]))
    kind = draw(st.sampled_from(["shed", "restore", "event", "cancel"]))
    if kind == "shed":
        return lambda _: Shed(SITE, share, 0, lasts_s, "", min(ramp_s, lasts_s), release_s)
    if kind == "restore":
        return lambda _: Restore(SITE, ramp_s=ramp_s)
    if kind == "cancel":
        return lambda _: CancelGridEvent(id_)
    return lambda now_s: GridEvent(
        id_,
        end_unix_s=now_s + later_s + lasts_s,
        domain=SITE,
        start_unix_s=now_s + later_s,
        fraction=share,
        ramp_s=ramp_s,
        release_s=release_s,
    )


def run_to(h: Harness, at_s: float) -> None:
    """To that moment exactly."""
    end_s = h.mono_s + (at_s - (h.now.unix_s - UNIX_START))
    while h.mono_s + BEAT_S < end_s:
        h.tick(BEAT_S)
    h.mono_s = end_s
    h.handle(TimePassed())


@settings(max_examples=30, deadline=None)
@given(
    st.lists(requests(), min_size=1, max_size=6),
    st.sets(st.integers(0, 8), max_size=3),
    st.booleans(),
)
def test_a_restart_changes_no_budget(
    asked: list[Callable[[float], Request]], restarts: set[int], with_window: bool
) -> None:
    steady, restarted = (Harness(built(with_window=with_window)) for _ in range(2))
    for step in range(16):
        begins_s = float(STEP_S * (step + 1))
        for h in (steady, restarted):
            run_to(h, begins_s)
            if step < len(asked):
                h.ask(asked[step](h.now.unix_s))
            run_to(h, begins_s + STEP_S / 2)
        if step in restarts:
            restarted.restart_scheduler()
        for h in (steady, restarted):
            run_to(h, begins_s + STEP_S - 5)
        one, other = (h.cluster.state.domains.budget_mw(SITE) for h in (steady, restarted))
        assert abs(one - other) <= 10_000, f"after step {step}: {one} mW, restarted {other} mW"
        assert 0 <= one <= FULL_MW
        assert set(steady.cluster.state.limits) == set(restarted.cluster.state.limits)
