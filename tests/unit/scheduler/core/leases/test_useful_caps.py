"""Below the knee, or below a min_performance, jobs are paused rather than slowed; no flutter."""

import random
from itertools import pairwise

import pytest

from support.core.harness import Harness
from support.core.sites import job, site
from wattline_protocol.ids import DomainId, Instant, JobId, Now, UnixTime
from wattline_protocol.wire.client_messages import Restore, Shed
from wattline_scheduler.core.emergency import resuming
from wattline_scheduler.core.emergency.resuming import (
    MAX_PAUSE_S,
    MIN_PAUSE_S,
    PAUSE_MEMORY_S,
    ResumeHeadroom,
)
from wattline_scheduler.core.leases.leases import refresh_loads
from wattline_scheduler.core.model.jobs.job import Paused, Running
from wattline_scheduler.core.model.queue.remaining_time import ends_of
from wattline_scheduler.core.model.state import State

W = 1000
KEEP_MW = 350 * W
"""Knee of a hot job on an H100: half of 700 W."""


def cluster(nodes: int = 2, kw: float = 14.0) -> Harness:
    h = Harness(site().rack("a", nodes).site_budget(kw).build())
    h.join()
    for agent in h.agents.values():
        agent.wants_mw = 690 * W
    h.run(2)
    return h


def caps_w(h: Harness, number: JobId) -> list[int]:
    return [
        h.agent(a.node).caps_mw[index] // W for a in h.gang(number).live for index in a.record.gpus
    ]


def shed_to(h: Harness, kw: float) -> None:
    budget_mw = h.cluster.state.domains.budget_mw(DomainId("site"))
    h.do(Shed(None, by_mw=budget_mw - round(kw * 1e6)))


def two_jobs(h: Harness) -> tuple[JobId, JobId]:
    low = h.submit(job("low").gpus(8).priority(25))
    high = h.submit(job("high").gpus(8).priority(75))
    h.run(20)
    assert h.state_of(low) == h.state_of(high) == "RUNNING"
    return low, high


def test_the_lowest_priority_is_paused_rather_than_all_pushed_below_their_knee() -> None:
    h = cluster()
    low, high = two_jobs(h)
    shed_to(h, 7.0)  # floors take 5.6 kW, keeps 8.2 kW
    h.run(2)
    assert h.state_of(low) == "RUNNING"
    h.run(4)
    assert h.state_of(low) == "PAUSED"
    assert "useful caps" in h.gang(low).reason
    h.run(5)
    assert h.state_of(high) == "RUNNING"
    assert min(caps_w(h, high)) > KEEP_MW // W


def test_nobody_waits_for_the_sake_of_lower_priorities() -> None:
    """Pausing all of the lower priority is not quite enough: the higher one runs below its knee."""
    h = cluster()
    lows = [h.submit(job(f"low-{n}").gpus(1).priority(25)) for n in range(8)]
    high = h.submit(job("high").gpus(8).priority(75))
    h.run(20)
    shed_to(h, 5.7)  # with all others paused it lacks 15 W a GPU
    h.run(30)
    assert h.state_of(high) == "RUNNING"
    assert [h.state_of(low) for low in lows] == ["PAUSED"] * len(lows)
    assert max(caps_w(h, high)) < KEEP_MW // W


def test_a_job_that_lacks_only_watts_has_those_of_lower_priorities() -> None:
    """Two nodes; the shed leaves watts for one that works."""
    h = cluster()
    low = h.submit(job("low").gpus(8).priority(25))
    h.run(20)
    shed_to(h, 6.5)
    h.run(10)
    assert h.state_of(low) == "RUNNING"
    equal = h.submit(job("equal").gpus(8).priority(25))
    h.run(10)
    assert h.state_of(equal) == "PENDING"
    assert "watts" in h.job(equal).wait_reason
    high = h.submit(job("high").gpus(8).priority(75))
    h.run(10)
    assert (h.state_of(high), h.state_of(low)) == ("RUNNING", "PAUSED")
    assert min(caps_w(h, high)) > KEEP_MW // W
    h.do(Restore(None))
    h.run(20)
    assert (h.state_of(high), h.state_of(low)) == ("RUNNING", "RUNNING")


def test_watts_of_lower_priorities_are_given_to_one_job_only() -> None:
    h = cluster(3, kw=21.0)
    low = h.submit(job("low").gpus(8).priority(25))
    h.run(20)
    shed_to(h, 8.0)
    h.run(10)
    first, second = (h.submit(job(name).gpus(8).priority(75)) for name in ("first", "second"))
    h.run(30)
    states = [h.state_of(number) for number in (low, first, second)]
    assert states == ["PAUSED", "RUNNING", "PENDING"]


def test_it_goes_on_when_its_keep_fits_again() -> None:
    h = cluster()
    low, _ = two_jobs(h)
    shed_to(h, 7.0)
    h.run(20)
    assert h.state_of(low) == "PAUSED"
    h.do(Restore(None))
    h.run(10)
    assert h.state_of(low) == "RUNNING"


def test_the_end_of_what_is_paused_is_not_known_until_it_goes_on_and_is_later_by_as_long() -> None:
    h = cluster()
    low, _ = two_jobs(h)
    attempt = h.gang(low).live[0]
    task = h.agent(attempt.node).tasks[attempt.record.ref]
    for percent in range(8):
        task.metrics["progress"] = percent / 100
        h.run(120)
    bounds = h.cluster.state.work.runtime_bounds
    (before,) = ends_of(bounds, h.gang(low))
    assert before.why == "by its reported progress"
    shed_to(h, 7.0)
    h.run(20)
    assert h.state_of(low) == "PAUSED"
    assert ends_of(bounds, h.gang(low)) == []
    h.run(600)
    h.do(Restore(None))
    h.run(10)
    assert h.state_of(low) == "RUNNING"
    (after,) = ends_of(bounds, h.gang(low))
    assert after.why == before.why
    assert 600 < after.at - before.at < 640


def test_as_long_as_all_keeps_fit_jobs_are_slowed_not_paused() -> None:
    h = cluster()
    one, other = (h.submit(job(name).gpus(8)) for name in ("one", "other"))
    h.run(20)
    shed_to(h, 8.6)
    h.run(60)
    assert h.state_of(one) == h.state_of(other) == "RUNNING"
    assert min(caps_w(h, one) + caps_w(h, other)) >= KEEP_MW // W - 1


def test_what_a_higher_priority_wants_slows_those_below_it_and_pauses_nobody() -> None:
    h = cluster()
    low, high = two_jobs(h)
    shed_to(h, 10.0)
    h.run(60)
    assert h.state_of(low) == h.state_of(high) == "RUNNING"
    assert min(caps_w(h, high)) >= 690
    assert max(caps_w(h, low)) < 690


def test_what_a_user_asked_for_is_kept_whatever_a_higher_priority_wants() -> None:
    h = cluster()
    low = h.submit(job("low").gpus(8).priority(25).min_performance(0.8))
    high = h.submit(job("high").gpus(8).priority(75))
    h.run(20)
    before_w = min(caps_w(h, low))
    shed_to(h, 10.0)
    h.run(60)
    assert h.state_of(low) == h.state_of(high) == "RUNNING"
    node = h.cluster.state.nodes[h.gang(low).live[0].node]
    load = h.cluster.state.fleet.loads[node.id].gpus[0]
    keep_w = load.asked_mw // node.gpus[load.index].overshoot_permille
    assert before_w >= min(caps_w(h, low)) >= keep_w - 1
    assert KEEP_MW // W < keep_w < 690


def test_a_job_alone_gives_way_to_nobody() -> None:
    h = cluster(1, kw=7.0)
    only = h.submit(job().gpus(8))
    h.run(20)
    shed_to(h, 3.2)
    h.run(30)
    assert h.state_of(only) == "RUNNING"
    assert max(caps_w(h, only)) < KEEP_MW // W


def test_a_job_alone_with_a_min_performance_waits_instead() -> None:
    h = cluster(1, kw=7.0)
    only = h.submit(job().gpus(8).min_performance(0.8))
    h.run(20)
    shed_to(h, 4.5)
    h.run(10)
    assert h.state_of(only) == "PAUSED"
    h.run(100)
    assert h.state_of(only) == "PAUSED"
    h.do(Restore(None))
    h.run(20)
    assert h.state_of(only) == "RUNNING"


def test_a_job_that_is_never_to_be_capped_never_is() -> None:
    h = cluster()
    never = h.submit(job("never").gpus(8).priority(50).min_performance(1.0))
    other = h.submit(job("other").gpus(8).priority(50))
    h.run(20)
    for kw in (13.0, 12.0, 11.4):
        shed_to(h, kw)
        for _ in range(10):
            h.run(1)
            assert min(caps_w(h, never)) == 700
        h.do(Restore(None))
        h.run(5)
    assert h.state_of(never) == h.state_of(other) == "RUNNING"


def test_where_it_cannot_be_uncapped_it_is_paused() -> None:
    h = cluster()
    never = h.submit(job("never").gpus(8).priority(50).min_performance(1.0))
    h.run(20)
    shed_to(h, 6.5)
    h.run(8)
    assert h.state_of(never) == "PAUSED"


def test_a_job_whose_performance_cannot_be_kept_is_not_placed() -> None:
    h = cluster(1, kw=4.8)
    assert "watts" in h.refuse(job().gpus(8).min_performance(0.9))
    h.submit(job("first").gpus(4).min_performance(0.9))
    waits = h.submit(job("second").gpus(2).min_performance(0.9))
    h.run(5)
    assert h.state_of(waits) == "PENDING"


@pytest.mark.parametrize("seed", range(2))
def test_demand_that_comes_and_goes_makes_nothing_flutter(seed: int) -> None:
    """A quarter of an hour in which demand jumps at random, just where keeps stop fitting."""
    h = cluster(3, kw=21.0)
    rng = random.Random(seed)
    numbers = [h.submit(job(f"j{n}").gpus(4).priority(25 + 10 * n)) for n in range(6)]
    h.run(40)
    shed_to(h, 10.8)
    for _ in range(90):
        for agent in h.agents.values():
            agent.wants_mw = rng.choice((220, 400, 690)) * W
        h.run(10)
    pauses = h.events("gang_paused")
    per_gang: dict[JobId | None, list[float]] = {}
    for event in pauses:
        per_gang.setdefault(event.job, []).append(event.unix_s)
    for times in per_gang.values():
        row = 0  # pauses in a row
        for before, after in pairwise(times):
            assert after - before >= min(MIN_PAUSE_S * 2**row, MAX_PAUSE_S)
            row = row + 1 if after - before < PAUSE_MEMORY_S else 0
    top = max(numbers, key=lambda n: h.job(n).spec.priority)
    assert top not in per_gang


def test_steady_demand_never_pauses_twice() -> None:
    h = cluster(3, kw=21.0)
    for n in range(6):
        h.submit(job(f"j{n}").gpus(4).priority(25 + 10 * n))
    h.run(40)
    shed_to(h, 10.8)
    h.run(600)
    jobs = [event.job for event in h.events("gang_paused")]
    assert jobs
    assert len(jobs) == len(set(jobs))
    running = len(h.cluster.state.work.gangs_in(Running))
    assert running == 6 - len(jobs)


def after_a_deep_shed(kw: float) -> tuple[Harness, list[str], str]:
    """A job of 8 GPUs and high priority among small ones of low priority, all paused in a shed of
    which little and then more is released, up to `kw`; the states of the small ones and of it."""
    h = cluster(3, kw=21.0)
    small = [h.submit(job(f"small-{n}").gpus(2).priority(25)) for n in range(4)]
    large = h.submit(job("large").gpus(8).priority(75))
    h.run(20)
    shed_to(h, 4.6)
    h.run(20)
    assert {h.state_of(one) for one in (*small, large)} == {"PAUSED"}
    for budget_kw, seconds in ((6.0, 20), (kw, 60)):
        h.do(Shed(None, by_mw=round((21.0 - budget_kw) * 1e6)))
        h.run(seconds)
    return h, [h.state_of(one) for one in small], h.state_of(large)


def test_a_paused_gang_resumes_in_place_of_smaller_ones_of_lower_priority() -> None:
    h, small, large = after_a_deep_shed(8.0)
    assert (large, set(small)) == ("RUNNING", {"PAUSED"})
    assert len(h.events("gang_paused")) <= 5 + 5  # each for the shed, and at most once for it
    for_it = [one.reason for one in h.cluster.state.work.paused.values()]
    assert for_it == ["a paused job of higher priority resumes with its watts"] * 4


def test_work_runs_on_where_pausing_it_would_not_let_a_higher_priority_resume() -> None:
    h, small, large = after_a_deep_shed(7.2)
    assert (large, small.count("RUNNING")) == ("PAUSED", 3)
    assert len(h.events("gang_paused")) <= 6


def many_paused(jobs: int = 12) -> Harness:
    """Three nodes full of small jobs, most of which were paused; then there is room for some."""
    h = cluster(3, 21.0)
    for number in range(jobs):
        h.submit(job(f"job-{number}").gpus(2).priority(25 + number % 3))
    h.run(20)
    shed_to(h, 8.0)
    h.run(10)
    h.do(Shed(None, by_mw=10_800_000))
    return h


def test_what_gangs_take_that_go_on_is_what_a_fresh_look_finds_taken() -> None:
    h = many_paused()
    state, now = h.cluster.state, Now(Instant(h.mono_s + 60), UnixTime(0.0))
    paused = list(state.work.paused.values())
    room = ResumeHeadroom(state, now)
    for gang in paused:
        room.resume_if_fits(gang)
    going = [g for g in paused if isinstance(g.phase, Paused) and g.phase.is_resuming]
    assert 0 < len(going) < len(paused)
    fresh = ResumeHeadroom(state, now)
    assert fresh.left_at_useful == room.left_at_useful
    assert fresh.left_at_floors == room.left_at_floors
    assert min(fresh.left_at_useful) > 0


def test_however_many_are_paused_the_site_is_looked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    h = many_paused()
    looks = []

    def counted(state: State, now: Now) -> None:
        looks.append(now)
        refresh_loads(state, now)

    monkeypatch.setattr(resuming, "refresh_loads", counted)
    assert len(h.cluster.state.work.paused) > 1
    resuming.resume_where_fits(h.cluster.state, Now(Instant(h.mono_s + 60), UnixTime(0.0)))
    assert len(looks) == 1
