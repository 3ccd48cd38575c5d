"""Work of lower priority makes room: who goes, what it costs them, and what is kept meanwhile."""

import math

import pytest
from msgspec.structs import replace

from support.core.harness import Harness, joined, running
from support.core.parts import explain_job
from support.core.preempting import fill, is_slow_to_stop, work
from support.core.sites import JobBuilder, job, site
from wattline_protocol.ids import JobId, NodeId
from wattline_protocol.job.selection import only
from wattline_protocol.job.spec import PRIORITIES
from wattline_protocol.wire.agent_messages import StopTask
from wattline_protocol.wire.client_messages import Cancel, Drain
from wattline_scheduler.core.admission.planner_view import renew_offers
from wattline_scheduler.core.agents.task_reports import take_report
from wattline_scheduler.core.lifecycle.job_state import reason_of
from wattline_scheduler.core.lifecycle.preemption import CLAIM_AFTER_S, running_gangs
from wattline_scheduler.core.model.jobs.job import Paused
from wattline_scheduler.time_slices import at_once


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 2).build())


def low() -> JobBuilder:
    return job().priority(PRIORITIES["low"])


def high() -> JobBuilder:
    return job().priority(PRIORITIES["high"])


def test_who_gives_way_is_queued_again_and_loses_no_retry(h: Harness) -> None:
    first, second = fill(h, low().gpus(8), run_s=900.0), fill(h, low().gpus(8))
    urgent = h.submit(high().gpus(8))
    assert (h.state_of(first), h.state_of(urgent)) == ("RUNNING", "RUNNING")
    gang = h.gang(second)
    assert h.state_of(second) == "PENDING"
    assert (gang.failures, gang.losses, gang.refusals) == (0, 0, 0)
    assert gang.past[0].record.state == "PREEMPTED"
    (event,) = h.events("gang_preempted")
    assert event.text == (
        f"'work' is preempted by job {urgent} ('work') of higher priority: it is requeued"
    )
    h.end_tasks()
    assert (h.state_of(second), h.gang(second).attempt) == ("RUNNING", 2)


def test_work_of_the_same_priority_waits_in_turn(h: Harness) -> None:
    fill(h, high().gpus(8))
    fill(h, high().gpus(8))
    waiting = h.submit(high().gpus(8))
    assert h.state_of(waiting) == "PENDING"
    assert not h.events("gang_preempted")


def test_young_work_is_protected(h: Harness) -> None:
    victim = h.submit(low().gpus(8).nodes(2))
    urgent = h.submit(high().gpus(8))
    work(h, victim, 50.0)
    assert h.state_of(urgent) == "PENDING"
    work(h, victim, 60.0)
    h.submit(job().gpus(0))  # something that makes the scheduler plan
    assert h.state_of(urgent) == "RUNNING"


def test_it_is_told_when_young_work_will_have_made_way(h: Harness) -> None:
    """Two thirds of their first minute are left, and then the longer grace."""
    young = fill(h, low().gpus(8).grace(10), run_s=20.0)
    older = fill(h, low().gpus(8).grace(5), run_s=45.0)
    urgent = h.submit(high().nodes(2).gpus(8))
    behind = h.submit(high().gpus(8))
    view = explain_job(h.cluster.state, h.job(urgent), h.now)
    assert view.start_unix_s == pytest.approx(h.now.unix_s + 38 + 10)
    assert view.start_why == (
        f"after jobs {young}, {older} of lower priority have been preempted; "
        "they are protected for another 38s"
    )
    assert explain_job(h.cluster.state, h.job(behind), h.now).start_unix_s is None


def test_who_is_behind_others_is_told_whom_they_and_it_send_away(h: Harness) -> None:
    young = fill(h, low().gpus(8).grace(10), run_s=20.0)
    older = fill(h, low().gpus(8).grace(5), run_s=45.0)
    first, second, third = (h.submit(high().gpus(8)) for _ in range(3))
    reported = [
        explain_job(h.cluster.state, h.job(number), h.now) for number in (first, second, third)
    ]
    assert [view.start_why for view in reported[:2]] == [
        f"after job {young} of lower priority has been preempted; it is protected for another 38s",
        (
            f"after jobs {young}, {older} of lower priority have been preempted; "
            "they are protected for another 38s"
        ),
    ]
    assert reported[1].start_unix_s == pytest.approx(h.now.unix_s + 38 + 10)
    assert reported[2].start_unix_s is None, "no victim is left for it"
    equal = h.submit(low().gpus(8))
    assert explain_job(h.cluster.state, h.job(equal), h.now).start_unix_s is None
    started = h.now.unix_s
    work(h, older, 61.0)
    h.run(1)
    assert h.state_of(first) == "RUNNING"
    assert h.state_of(second) == "PENDING"
    work(h, young, 61.0)
    h.run(1)
    assert h.state_of(second) == "RUNNING"
    assert h.now.unix_s - started < 50


def test_behind_more_than_one_cycle_sends_away_for_nobody_is_told_whom(h: Harness) -> None:
    fill(h, low().gpus(1).array(16), run_s=20.0)
    numbers = [h.submit(high().gpus(1)) for _ in range(10)]
    known = [explain_job(h.cluster.state, h.job(n), h.now).start_unix_s for n in numbers]
    assert [start is None for start in known] == [False] * 8 + [True] * 2


def test_the_site_says_how_long_young_work_is_protected() -> None:
    h = joined(site().rack("a", 1).times(protected_run_s=0.0).build())
    victim = h.submit(low().gpus(8))
    urgent = h.submit(high().gpus(8))
    assert (h.state_of(victim), h.state_of(urgent)) == ("PENDING", "RUNNING")


def test_the_notice_gives_the_job_its_own_grace(h: Harness) -> None:
    victim = fill(h, low().gpus(8).nodes(2).grace(45))
    h.submit(high().gpus(8).nodes(2))
    stops = [m for name in h.agents for m in h.sent_to(name, StopTask) if isinstance(m, StopTask)]
    assert {stop.ref.job for stop in stops} == {victim}
    assert {stop.grace_s for stop in stops} == {45.0}


def test_while_it_goes_nobody_else_takes_the_room_and_nobody_else_goes(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_one, on_other = fill(h, low().gpus(6)), fill(h, low().gpus(6))
    is_slow_to_stop(h, monkeypatch)
    urgent = h.submit(high().gpus(8))
    going = next(n for n in (on_one, on_other) if h.gang(n).phase_name == "ending")
    node = h.gang(going).live[0].node
    assert h.job(urgent).wait_reason == f"waits for work of lower priority to end on {node}"
    small = [h.submit(low().gpus(1)) for _ in range(3)]
    h.run(5)
    assert len(h.events("gang_preempted")) == 1
    assert reason_of(h.job(going), "RUNNING") == (
        f"stopping: preempted by job {urgent} ('work') of higher priority"
    )
    assert reason_of(h.job(small[2]), "PENDING") == (
        f"resources are reserved for job {urgent} (preemption in progress)"
    )
    assert node not in {a.node for n in small for a in h.gang(n).live}
    h.agent(node).end(h.gang(going).live[0].record.ref, 0)
    h.settle()
    assert h.state_of(urgent) == "RUNNING"
    assert h.gang(going).past[0].record.state == "PREEMPTED", "it may have more to do"


def test_a_job_that_is_cancelled_meanwhile_keeps_no_room(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(h, low().gpus(6).nodes(2))
    is_slow_to_stop(h, monkeypatch)
    urgent = h.submit(high().gpus(8).nodes(2))
    small = h.submit(job().gpus(2))
    assert h.state_of(small) == "PENDING"
    h.do(Cancel(only(urgent)))
    h.run(1)
    assert h.state_of(small) == "RUNNING"


def test_room_that_did_not_come_is_kept_no_longer(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its node is drained while the work on it ends."""
    victim = fill(h, low().gpus(8).nodes(2))
    is_slow_to_stop(h, monkeypatch)
    urgent = h.submit(high().gpus(8).nodes(2))
    h.do(Drain(NodeId("a1")))
    for attempt in list(h.gang(victim).live):
        h.agent(attempt.node).end(attempt.record.ref)
    h.settle()
    assert (h.state_of(urgent), list(h.cluster.state.claims)) == ("PENDING", [(urgent, 0)])
    h.run(CLAIM_AFTER_S + 1)
    small = h.submit(job().gpus(8))
    assert h.state_of(small) == "RUNNING"


def test_who_makes_room_for_two_and_had_not_begun_goes_once() -> None:
    h = joined(site().rack("a", 1).build())
    h.agent("a1").is_slow_to_ack = True
    victim = h.submit(low().gpus(8))
    assert h.gang(victim).phase_name == "starting"
    urgent = h.submit(high().gpus(4).array(2))
    assert len(h.events("gang_preempted")) == 1
    h.agent("a1").ack_now()
    h.run(2)
    assert (h.state_of(victim), h.state_of(urgent)) == ("PENDING", "RUNNING")


def test_after_a_restart_who_was_told_to_go_still_goes(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = fill(h, low().gpus(8).nodes(2))
    is_slow_to_stop(h, monkeypatch)
    urgent = h.submit(high().gpus(8).nodes(2))
    monkeypatch.undo()
    h.restart_scheduler()
    for agent in h.agents.values():
        agent.say_hello()
    h.settle()
    h.run(3)
    assert (h.state_of(victim), h.state_of(urgent)) == ("PENDING", "RUNNING")
    assert h.gang(victim).failures == 0


def test_a_late_report_of_a_paused_gang_describes_it_again(h: Harness) -> None:
    """It does not run by the scheduler's clock: the newest report says how long it ran."""
    paused = fill(h, low().gpus(8), run_s=50.0)
    gang = h.gang(paused)
    h.cluster.state.work.move(gang, Paused(h.now.mono_s), h.now)
    renew_offers(h.cluster.state, h.now)
    at = h.cluster.state.fleet_view.position[gang.live[0].node]
    (before,) = at_once(running_gangs(h.cluster.state, PRIORITIES["high"]))[at]
    report = gang.live[0].report
    assert report is not None
    later = replace(report, usage=replace(report.usage, run_s=70.0))
    take_report(h.cluster.state, h.cluster.state.nodes[gang.live[0].node], later, h.now)
    (after,) = at_once(running_gangs(h.cluster.state, PRIORITIES["high"]))[at]
    assert (before.protected_until, after.protected_until) == (math.inf, -math.inf)


def test_gangs_are_described_where_a_gang_of_the_priority_may_preempt_some(h: Harness) -> None:
    small, default = fill(h, low().gpus(8)), fill(h, job().gpus(8))
    state = h.cluster.state

    def described(name: str) -> set[JobId]:
        on = at_once(running_gangs(state, PRIORITIES[name]))
        return {one.key[0] for each in on for one in each}

    renew_offers(state, h.now)
    assert described("low") == set()
    assert described("normal") == {small}
    assert described("high") == {small, default}
    h.do(Cancel(only(small)))
    h.settle()
    renew_offers(state, h.now)
    assert described("normal") == set()
    assert described("high") == {default}


def test_a_gang_is_described_again_where_a_node_of_it_had_nothing_to_preempt(h: Harness) -> None:
    whole, below = fill(h, job().nodes(2).gpus(4)), fill(h, low().gpus(4))
    state, here = h.cluster.state, h.gang(below).live[0].node

    def described() -> int:
        """Tasks of the gang as the planner sees it, where `below` runs."""
        renew_offers(state, h.now)
        on = at_once(running_gangs(state, PRIORITIES["normal"]))[state.fleet_view.position[here]]
        return next(len(one.tasks) for one in on if one.key == (whole, 0))

    assert described() == 2
    [(there, ref)] = [one for one in running(h, whole) if one[0] != here]
    h.agent(there).end(ref, 0)
    h.settle()
    fill(h, low().gpus(4))
    assert [node for node, _ in running(h, whole)] == [here]
    assert described() == 1
