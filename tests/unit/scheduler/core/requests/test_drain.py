"""Drain: nothing new starts; what runs there ends by itself, or goes back to the queue."""

import pytest

from support.core.harness import UNIX_START, Harness, joined
from support.core.sites import job, site
from wattline_protocol.ids import NodeId
from wattline_protocol.job.selection import only
from wattline_protocol.text.quantities import MAX_DURATION_S
from wattline_protocol.wire.agent_messages import StopTask
from wattline_protocol.wire.client_messages import Cancel, Denied, Drain, Undrain
from wattline_scheduler.records import NodeRecord
from wattline_scheduler.views.nodes_view import node_view


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 2).rack("b", 1).build())


def test_a_draining_node_gets_no_new_tasks_and_is_drained_when_empty(h: Harness) -> None:
    number = h.submit(job().gpus(1))
    name = h.gang(number).live[0].node
    h.do(Drain(NodeId(name), "new fan"))
    assert h.node(name).state == "draining"
    other = h.submit(job().gpus(1))
    assert h.gang(other).live[0].node != name
    h.end_tasks()
    assert h.node(name).state == "drained"
    assert h.node(name).reason == "new fan"
    h.do(Undrain(NodeId(name)))
    assert h.node(name).state == "ok"


def test_undrain_of_a_node_that_is_not_drained_says_so(h: Harness) -> None:
    answer = h.ask(Undrain(NodeId("a1")))
    assert isinstance(answer, Denied)
    assert answer.kind == "conflict"


def test_a_drain_survives_a_restart(h: Harness) -> None:
    h.do(Drain(NodeId("a1")))
    h.restart_scheduler()
    h.join()
    assert h.node("a1").state == "drained"


def test_the_answer_says_what_still_runs_and_for_how_long(h: Harness) -> None:
    assert h.do(Drain(NodeId("b1"))) == "b1 is drained"
    first = h.submit(job().gpus(6).runtime(3_600))
    name = h.gang(first).live[0].node
    said = h.do(Drain(name))
    assert said == f"{name} is draining: 1 task still runs, for at most 1h5s"
    view = node_view(h.cluster.state, h.node(name), h.now)
    assert view.empty_by_unix_s == pytest.approx(h.now.unix_s + 3_605, abs=2)
    h.do(Undrain(name))
    h.do(Drain(NodeId("a2" if name == "a1" else "a1")))
    h.submit(job().gpus(1))
    said = h.do(Drain(name))
    assert said == f"{name} is draining: 2 tasks still run, some without a time limit"
    assert node_view(h.cluster.state, h.node(name), h.now).empty_by_unix_s is None


def test_a_task_with_the_longest_time_limit_has_ten_years(h: Harness) -> None:
    """With its grace period it has more than a duration can say."""
    number = h.submit(job().gpus(1).runtime(MAX_DURATION_S))
    name = h.gang(number).live[0].node
    said = h.do(Drain(name))
    assert said == f"{name} is draining: 1 task still runs, for at most 3650d"


def test_when_the_last_task_left_is_told_once_and_kept(h: Harness) -> None:
    number = h.submit(job().gpus(1).nodes(2))
    name = h.gang(number).live[0].node
    h.do(Drain(name, "new fan"))
    assert h.node(name).record.drained_unix_s is None
    assert not h.events("node_drained")
    h.run(3)
    h.end_tasks()
    since = h.node(name).record.drained_unix_s
    assert since == pytest.approx(h.now.unix_s, abs=1)
    text = f"{name} is drained: its last task has ended (new fan)"
    assert [event.text for event in h.events("node_drained")] == [text]
    h.restart_scheduler()
    h.join()
    h.do(Drain(name, "again"))
    assert h.node(name).record.drained_unix_s == since
    assert len(h.events("node_drained")) == 1
    h.do(Undrain(name))
    assert h.node(name).record.drained_unix_s is None


def test_a_drain_from_before_it_was_noted_is_noted_at_the_start(h: Harness) -> None:
    h.do(Drain(NodeId("a1")))
    record = h.node("a1").record
    h.disk.save(NodeRecord(NodeId("a1"), record.incarnation, is_draining=True))
    h.restart_scheduler()
    assert (h.node("a1").record.drained_unix_s or 0.0) > UNIX_START


def test_now_sends_what_runs_there_back_to_the_queue_whole(h: Harness) -> None:
    gang = h.submit(job().gpus(8).nodes(2).grace(9))
    names = {attempt.node for attempt in h.gang(gang).live}
    name, other = sorted(names)
    said = h.do(Drain(name, "hot", is_now=True))
    assert said == f"{name} is draining: 1 task still runs, being stopped"
    stops = [m for n in (name, other) for m in h.sent_to(n, StopTask)]
    assert [(m.grace_s, m.why) for m in stops if isinstance(m, StopTask)] == [
        (9, f"{name} is drained: hot")
    ] * 2
    h.run(1)
    assert h.node(name).state == "drained"
    assert (h.gang(gang).attempt, h.gang(gang).failures) == (2, 0)
    assert name not in {attempt.node for attempt in h.gang(gang).live}


def test_a_task_that_is_being_cancelled_stays_cancelled_when_its_node_is_drained(
    h: Harness,
) -> None:
    number = h.submit(job().gpus(1))
    name = h.gang(number).live[0].node
    h.cut_off.add(name)
    h.ask(Cancel(only(number)))
    h.ask(Drain(name, is_now=True))
    h.cut_off.clear()
    h.join(name)
    h.run(3)
    assert h.state_of(number) == "CANCELLED"


def test_an_unknown_node_is_named(h: Harness) -> None:
    answer = h.ask(Drain(NodeId("a9")))
    assert answer == Denied("not_found", "there is no node 'a9'; the site has a1, a2, b1")


def test_a_drain_that_is_said_again_keeps_its_reason(h: Harness) -> None:
    name = NodeId("a1")
    h.do(Drain(name, "new fan"))
    h.do(Drain(name))
    assert h.node("a1").record.drain_reason == "new fan"
    h.do(Drain(name, "new board"))
    assert h.node("a1").record.drain_reason == "new board"
    h.do(Undrain(name))
    h.do(Drain(name))
    assert h.node("a1").record.drain_reason.startswith("drained by ")
