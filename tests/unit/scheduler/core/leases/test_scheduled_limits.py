"""Schedule windows and grid events: begun, ended, missed, cancelled, and after a restart."""

import msgspec
import pytest

from support.core.harness import UNIX_START, Harness, joined
from support.core.sites import job, site
from wattline_protocol.ids import DomainId, Now, UnixTime
from wattline_protocol.site.model import Schedule, Site
from wattline_protocol.wire.client_messages import CancelGridEvent, Denied, GridEvent
from wattline_scheduler.core.requests.grid_events import MAX_EVENTS_PER_DOMAIN
from wattline_scheduler.views.power.limits_view import limit_views

SITE = DomainId("site")
FULL_MW = 14_000_000
T0 = UNIX_START
"""Tue 2023-11-14 22:13:20 UTC."""

PEAK = Schedule(SITE, ("Tue 22:14-22:16",), 10_000_000, ramp_s=20.0, release_s=20.0, reason="peak")


def site_with(*schedules: Schedule) -> Site:
    plain = site().rack("a", 2, kw=14.0).site_budget(14.0).build()
    return msgspec.structs.replace(plain, schedules=schedules)


def harness(*schedules: Schedule) -> Harness:
    return joined(site_with(*schedules))


def budget_mw(h: Harness) -> int:
    return h.cluster.state.domains.budget_mw(SITE)


def run_to(h: Harness, at_s: float) -> None:
    """Until so many seconds after T0."""
    h.run(at_s - (h.now.unix_s - T0))


# --- schedules ------------------------------------------------------------------------------


def test_a_window_lowers_the_budget_on_its_ramps_and_ends_by_itself() -> None:
    h = harness(PEAK)
    (planned,) = limit_views(h.cluster.state, h.now)[SITE]
    assert (planned.phase, planned.start_unix_s) == ("planned", T0 + 40)
    run_to(h, 39)
    assert budget_mw(h) == FULL_MW
    run_to(h, 50)
    assert budget_mw(h) == pytest.approx(12_000_000, rel=0.01)
    run_to(h, 70)
    assert budget_mw(h) == 10_000_000
    run_to(h, 170)
    assert budget_mw(h) == pytest.approx(12_000_000, rel=0.01)
    run_to(h, 185)
    assert budget_mw(h) == FULL_MW
    kinds = [e.kind for e in h.cluster.state.journal.events if e.kind.startswith("budget_")]
    assert kinds == ["budget_lowered", "budget_rising", "budget_restored"]
    (again,) = limit_views(h.cluster.state, h.now)[SITE]
    assert again.start_unix_s == T0 + 40 + 7 * 86_400


def test_a_window_that_begins_as_a_step_is_met_when_it_begins() -> None:
    h = harness(msgspec.structs.replace(PEAK, ramp_s=0.0))
    h.submit(job().gpus(8))
    h.submit(job().gpus(8))
    run_to(h, 39.5)
    assert budget_mw(h) == FULL_MW
    assert h.cluster.state.books.committed_in(SITE) <= 10_000_000, "a step ahead"
    run_to(h, 42)
    assert budget_mw(h) == 10_000_000
    assert not h.events("over_budget")


def test_a_start_of_the_scheduler_in_a_window_finds_it_open() -> None:
    h = harness(PEAK)
    run_to(h, 30)
    h.mono_s += 40
    h.restart_scheduler()
    h.tick()
    assert budget_mw(h) == 10_000_000
    assert h.events("budget_lowered")


def test_a_restart_in_a_window_changes_nothing() -> None:
    h = harness(PEAK)
    run_to(h, 50)
    before = budget_mw(h)
    h.restart_scheduler()
    h.tick()
    assert budget_mw(h) == pytest.approx(before, rel=0.02)
    assert len(h.events("budget_lowered")) == 1, "reported once"
    run_to(h, 185)
    assert budget_mw(h) == FULL_MW


def test_a_window_that_the_site_file_no_longer_has_is_over_at_a_restart() -> None:
    h = harness(PEAK)
    run_to(h, 70)
    h.site = site_with()
    h.restart_scheduler()
    h.tick()
    assert budget_mw(h) == FULL_MW
    assert "site file has changed" in h.events("budget_restored")[-1].text


def test_a_window_that_the_site_file_has_otherwise_takes_its_place_at_a_restart() -> None:
    h = harness(PEAK)
    run_to(h, 70)
    h.site = site_with(msgspec.structs.replace(PEAK, limit_mw=8_000_000))
    h.restart_scheduler()
    h.tick()
    assert budget_mw(h) == 8_000_000


class SetClock(Harness):
    """A wall clock that can be set."""

    ahead_s = 0.0

    @property
    def now(self) -> Now:
        steady = super().now
        return Now(steady.mono_s, UnixTime(steady.unix_s + self.ahead_s))


def test_a_clock_that_is_set_right_finds_the_window_it_would_have_missed() -> None:
    h = SetClock(site_with(PEAK))
    h.join()
    h.ahead_s = 3_600.0
    h.run(1)
    assert next(iter(h.cluster.state.limits.values())).start_unix_s > T0 + 86_400
    h.ahead_s = 0.0
    h.run(70)
    assert budget_mw(h) == 10_000_000


# --- grid events ----------------------------------------------------------------------------


def event(id_: str = "4711", **changes: object) -> GridEvent:
    usual = GridEvent(id_, T0 + 120, start_unix_s=T0 + 60, fraction=0.25, reason="frequency")
    return msgspec.structs.replace(usual, **changes)


class SlowClock(Harness):
    """A wall clock that falls behind bit by bit, as one that is slewed does."""

    behind_s = 0.0

    @property
    def now(self) -> Now:
        steady = super().now
        return Now(steady.mono_s, UnixTime(steady.unix_s - self.behind_s))


@pytest.mark.parametrize("release_s", [0.0, 20.0])
def test_a_window_that_had_its_time_does_not_open_again_by_a_slow_clock(release_s: float) -> None:
    h = SlowClock(site_with(msgspec.structs.replace(PEAK, release_s=release_s)))
    h.join()
    run_to(h, 70)
    while h.behind_s < 0.8:
        h.behind_s += 0.05
        h.run(1)
    run_to(h, 200)
    assert budget_mw(h) == FULL_MW
    assert len(h.events("budget_lowered")) == len(h.events("budget_restored")) == 1
    (planned,) = limit_views(h.cluster.state, h.now)[SITE]
    assert planned.start_unix_s == T0 + 40 + 7 * 86_400


def test_an_event_begins_and_ends_by_itself() -> None:
    h = harness()
    h.do(event(), user="grid")
    run_to(h, 59)
    assert budget_mw(h) == FULL_MW
    run_to(h, 62)
    assert budget_mw(h) == 10_500_000
    run_to(h, 121)
    assert budget_mw(h) == FULL_MW
    assert not h.cluster.state.limits
    (planned,) = h.events("grid_event_planned")
    (lowered,) = h.events("budget_lowered")
    assert planned.actor == lowered.actor == "grid"
    assert "frequency" in planned.text
    assert "event 4711 limits the budget to 10.5 kW until 2023-11-14 22:15 UTC" in lowered.text


def test_an_event_without_a_start_begins_at_once() -> None:
    h = harness()
    h.do(event(start_unix_s=0.0, to_mw=9_000_000, fraction=0.0))
    h.tick()
    assert budget_mw(h) == 9_000_000


@pytest.mark.parametrize("seconds", [10.0, 58.0, 70.0, 100.0])
def test_an_event_survives_a_restart_at_any_time(seconds: float) -> None:
    steady, restarted = harness(), harness()
    for h in (steady, restarted):
        h.do(event(ramp_s=20.0, release_s=20.0))
        run_to(h, seconds)
    restarted.restart_scheduler()
    restarted.join()
    for at in (seconds + 1, 90.0, 110.0, 130.0, 141.0):
        if at > seconds:
            run_to(steady, at)
            run_to(restarted, at)
            assert budget_mw(restarted) == pytest.approx(budget_mw(steady), rel=0.01)
    assert budget_mw(restarted) == FULL_MW


def test_an_event_that_passed_while_the_scheduler_was_away_is_told() -> None:
    h = harness()
    h.do(event())
    h.mono_s += 200
    h.restart_scheduler()
    h.tick()
    assert "ended before it could begin" in h.events("limit_missed")[-1].text
    assert not h.cluster.state.limits


def test_the_same_announcement_again_is_harmless() -> None:
    h = harness()
    h.do(event())
    assert "already announced" in h.do(event())
    run_to(h, 70)
    assert "already announced" in h.do(event())
    h.restart_scheduler()
    assert "already announced" in h.do(event())
    assert len(h.events("grid_event_planned")) == 1


def test_a_repeated_announcement_for_now_is_the_first_one() -> None:
    h = harness()
    now = event(start_unix_s=0.0)
    h.do(now)
    h.run(5)
    assert "already announced" in h.do(replace_end(now, 3.0))


def replace_end(request: GridEvent, later_s: float) -> GridEvent:
    return msgspec.structs.replace(request, end_unix_s=request.end_unix_s + later_s)


def test_another_event_under_the_same_id_is_refused() -> None:
    h = harness()
    h.do(event())
    for other in (event(fraction=0.3), event(end_unix_s=T0 + 130), event(domain=DomainId("room"))):
        answer = h.ask(other)
        assert isinstance(answer, Denied)
        assert answer.kind == "conflict"


@pytest.mark.parametrize("at_s", [10.0, 70.0])
def test_a_cancelled_event_is_never_revived(at_s: float) -> None:
    h = harness()
    h.do(event())
    run_to(h, at_s)
    h.do(CancelGridEvent("4711", "false alarm"), user="olga")
    assert budget_mw(h) == FULL_MW
    h.restart_scheduler()
    answer = h.ask(event())
    assert isinstance(answer, Denied)
    assert "new id" in answer.reason
    run_to(h, 119)
    assert budget_mw(h) == FULL_MW
    run_to(h, 125)
    assert not h.cluster.state.limits
    cancelled = h.events("grid_event_cancelled")[-1]
    assert cancelled.actor == "olga"
    assert "false alarm" in cancelled.text


def test_the_lowest_of_several_limits_counts_whoever_ends_first() -> None:
    h = harness(PEAK)
    h.do(event(start_unix_s=T0 + 50, end_unix_s=T0 + 80, to_mw=9_000_000, fraction=0.0))
    run_to(h, 75)
    assert budget_mw(h) == 9_000_000
    run_to(h, 85)
    assert budget_mw(h) == 10_000_000


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (event(domain=DomainId("pdu-z")), "no domain 'pdu-z'"),
        (event("no good/"), "the id 'no good/' of the event"),
        (event(fraction=0.0), "give one of"),
        (event(to_mw=5), "give one of"),
        (event(fraction=-0.5), "between 0 and 1"),
        (event(fraction=float("nan")), "between 0 and 1"),
        (event(fraction=0.0, by_mw=15_000_000), "cannot shed"),
        (event(fraction=0.0, to_mw=FULL_MW), "has no effect"),
        (event(end_unix_s=T0 + 1), "is in the past"),
        (event(end_unix_s=T0 + 59), "after its start"),
        (event(end_unix_s=float("inf")), "after its start"),
        (event(start_unix_s=T0 + 1e9), "within a year"),
        (event(ramp_s=61.0), "is longer than the event"),
        (event(release_s=-1.0), "between 0 and 86400 s"),
        (event(reason="x" * 501), "at most 500"),
        (CancelGridEvent("17"), "event 17 does not exist; events: none"),
    ],
)
def test_a_bad_request_says_what_would_be_right(
    request_: GridEvent | CancelGridEvent, words: str
) -> None:
    h = harness()
    answer = h.ask(request_)
    assert isinstance(answer, Denied)
    assert words in answer.reason


def test_events_are_for_operators_and_bounded() -> None:
    h = harness()
    assert isinstance(h.ask(event(), role="submitter"), Denied)
    for number in range(MAX_EVENTS_PER_DOMAIN):
        h.do(event(f"e{number}"))
    answer = h.ask(event("one-more"))
    assert isinstance(answer, Denied)
    assert answer.kind == "busy"
    run_to(h, 70)
    assert budget_mw(h) == 10_500_000
