"""Notices: what will interrupt a running gang, sent, repeated, replaced and withdrawn."""

import pytest

from support.core.harness import Harness, joined
from support.core.sites import job, site
from wattline_protocol.ids import JobId, NodeId
from wattline_protocol.job.selection import only
from wattline_protocol.wire.agent_messages import NotifyTask, StopTask
from wattline_protocol.wire.client_messages import Cancel, Drain, Restore, Shed
from wattline_protocol.wire.reservations import Reserve
from wattline_protocol.wire.task_order import Notice


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 2, kw=14.0).site_budget(14.0).build())


def running(h: Harness, *jobs: JobId) -> None:
    h.run(20)
    assert all(h.state_of(one) == "RUNNING" for one in jobs)


def notice(h: Harness, number: JobId) -> Notice | None:
    """As the task's agent has it."""
    (attempt,) = h.gang(number).live
    return h.agents[attempt.node].tasks[attempt.record.ref].notice


def stops(h: Harness, node: NodeId) -> list[str]:
    return [one.what for one in h.sent_to(node, StopTask) if isinstance(one, StopTask)]


def test_a_ramp_that_will_pause_a_gang_is_announced_until_it_is_withdrawn(h: Harness) -> None:
    low = h.submit(job("low").gpus(8).priority(25))
    high = h.submit(job("high").gpus(8).priority(75))
    running(h, low, high)
    assert notice(h, low) is None
    h.do(Shed(None, fraction=0.7, ramp_s=300.0))
    h.run(3)
    newest = notice(h, low)
    assert newest is not None
    assert (newest.what, newest.grace_s) == ("pause", 0.0)
    assert "the budget of site falls to" in newest.why
    h.do(Restore(None))
    h.run(3)
    assert notice(h, low) is None


def test_the_pause_comes_when_the_newest_notice_said_it_would(h: Harness) -> None:
    low = h.submit(job("low").gpus(8).priority(25))
    high = h.submit(job("high").gpus(8).priority(75))
    running(h, low, high)
    h.do(Shed(None, fraction=0.7, ramp_s=300.0))
    h.run(3)
    newest = notice(h, low)
    while h.state_of(low) == "RUNNING":
        newest = notice(h, low)
        assert newest is not None
        assert newest.at_unix_s > h.now.unix_s - 10.0, "it is paused soon after"
        h.run(1)
    assert newest is not None
    assert newest.at_unix_s - 2.0 <= h.now.unix_s <= newest.at_unix_s + 10.0
    assert h.state_of(high) == "RUNNING"


def test_a_time_limit_is_announced_with_the_grace(h: Harness) -> None:
    number = h.submit(job("short").gpus(1).runtime(120.0).grace(7.0))
    began_unix_s = h.now.unix_s
    running(h, number)
    newest = notice(h, number)
    assert newest is not None
    assert (newest.what, newest.grace_s) == ("limit", 7.0)
    assert newest.at_unix_s == pytest.approx(began_unix_s + 120.0, abs=3.0)


def test_one_that_is_known_is_not_sent_again_and_one_that_is_lost_is(h: Harness) -> None:
    number = h.submit(job("short").gpus(1).runtime(120.0))
    running(h, number)
    (attempt,) = h.gang(number).live
    sent = len(h.sent_to(attempt.node, NotifyTask))
    h.run(20)
    assert len(h.sent_to(attempt.node, NotifyTask)) == sent == 1
    h.agents[attempt.node].tasks[attempt.record.ref].notice = None  # its agent lost it
    h.run(3)
    assert notice(h, number) is not None
    h.restart_scheduler()
    h.run(5)
    newest = notice(h, number)
    assert newest is not None
    assert newest.what == "limit"


def test_a_reservation_of_others_is_announced_on_its_nodes_alone(h: Harness) -> None:
    first, second = (h.submit(job(name).gpus(8)) for name in ("one", "two"))
    running(h, first, second)
    (attempt,) = h.gang(first).live
    h.do(
        Reserve(
            "service", start="in 5m", for_s=3600.0, nodes=(str(attempt.node),), is_maintenance=True
        )
    )
    h.run(3)
    newest = notice(h, first)
    assert newest is not None
    assert newest.what == "reservation"
    assert notice(h, second) is None


def test_an_agent_that_does_not_take_notices_is_sent_none(h: Harness) -> None:
    number = h.submit(job("short").gpus(1).runtime(120.0))
    for node in h.cluster.state.nodes.values():
        node.takes_notices = False
    running(h, number)
    (attempt,) = h.gang(number).live
    assert not h.sent_to(attempt.node, NotifyTask)


def test_stops_name_what_they_are(h: Harness) -> None:
    cancelled, drained = (h.submit(job(name).gpus(8)) for name in ("one", "two"))
    running(h, cancelled, drained)
    (first,), (second,) = h.gang(cancelled).live, h.gang(drained).live
    h.do(Drain(second.node, is_now=True))
    h.do(Cancel(only(cancelled)))
    assert stops(h, first.node) == ["stop"]
    assert stops(h, second.node) == ["drain"]
