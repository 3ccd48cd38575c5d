"""Gangs with a range of nodes: start on what there is, grow later, shrink instead of waiting."""

import msgspec
import pytest

from support.core.harness import Harness, joined, running
from support.core.preempting import is_slow_to_stop
from support.core.sites import job, site
from wattline_protocol.ids import DomainId, JobId
from wattline_protocol.site.model import Queue, Quota
from wattline_protocol.wire.agent_messages import StartTask, StopTask
from wattline_protocol.wire.client_messages import DeclareOff, Restore, Shed
from wattline_scheduler.core.lifecycle.resizing import LOOK_S

SETTLE_S = 60.0
LONG_S = SETTLE_S + 2 * LOOK_S
PDU = DomainId("pdu-a")


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 4).build())


def size(h: Harness, number: JobId) -> int:
    return len(running(h, number))


def end(h: Harness, number: JobId) -> None:
    """Its task ends by itself."""
    node, ref = running(h, number)[0]
    h.agent(node).end(ref, 0)
    h.settle()


def stop_gracefully(h: Harness) -> None:
    """Whatever is being stopped has saved and ends."""
    for name, message in list(h.sent):
        if isinstance(message, StopTask) and message.ref in h.cluster.state.work.live:
            h.agent(name).end(message.ref, 0)
    h.settle()


def test_it_starts_on_as_many_nodes_as_there_are(h: Harness) -> None:
    h.submit(job().gpus(8))
    number = h.submit(job().gpus(8).from_to(2, 8))
    assert size(h, number) == 3
    orders = [message.order for _, message in h.sent if isinstance(message, StartTask)]
    mine = [order for order in orders if order.ref.job == number]
    assert {(one.nodes, one.processes) for one in mine} == {(3, 3)}
    assert sorted(one.node_rank for one in mine) == [0, 1, 2]


def test_it_waits_while_there_are_too_few(h: Harness) -> None:
    for _ in range(3):
        h.submit(job().gpus(8))
    number = h.submit(job().gpus(8).from_to(2, 4))
    assert h.state_of(number) == "PENDING"
    assert h.job(number).wait_reason.startswith("1 of 2 nodes found")


def test_it_grows_once_room_has_lasted(h: Harness) -> None:
    other = h.submit(job().gpus(8))
    number = h.submit(job().gpus(8).from_to(2, 4, SETTLE_S))
    end(h, other)
    h.run(SETTLE_S - LOOK_S)
    assert (size(h, number), h.gang(number).attempt) == (3, 1)
    h.run(2 * LOOK_S + 1)
    stop_gracefully(h)
    assert (size(h, number), h.gang(number).attempt) == (4, 2)
    assert (h.gang(number).failures, h.gang(number).losses) == (0, 0)
    assert {m.what for _, m in h.sent if isinstance(m, StopTask)} == {"resize"}
    (event,) = h.events("gang_resized")
    assert "restarts on more than 3 nodes: there has been room for 1 more node for 1m" in event.text
    h.run(LONG_S)
    assert h.gang(number).attempt == 2


def test_with_same_rack_it_takes_a_rack_in_which_it_is_largest() -> None:
    """It took the smallest that has its least number, in which it cannot grow."""
    h = joined(site().rack("a", 2).rack("b", 6).rack("c", 4).build())
    number = h.submit(job().gpus(8).from_to(2, 4).same_rack())
    assert {node for node, _ in running(h, number)} == {"c1", "c2", "c3", "c4"}


def test_room_that_goes_begins_again(h: Harness) -> None:
    other = h.submit(job().gpus(8))
    number = h.submit(job().gpus(8).from_to(2, 4, SETTLE_S))
    end(h, other)
    h.run(SETTLE_S - LOOK_S)
    short = h.submit(job().gpus(1))
    h.run(LOOK_S)
    end(h, short)
    h.run(SETTLE_S - LOOK_S)
    assert h.gang(number).attempt == 1
    h.run(3 * LOOK_S)
    assert h.gang(number).attempt == 2


def test_after_a_growth_in_vain_it_waits_twice_as_long(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another job takes the room while it is stopped."""
    other = h.submit(job().gpus(8))
    number = h.submit(job().gpus(8).from_to(2, 4, SETTLE_S))
    end(h, other)
    with monkeypatch.context() as slow:
        is_slow_to_stop(h, slow)
        h.run(LONG_S)
        other = h.submit(job().gpus(8))
    stop_gracefully(h)
    h.run(5)
    assert (size(h, number), h.gang(number).vain_growths) == (3, 1)
    end(h, other)
    h.run(SETTLE_S + 2 * LOOK_S)
    assert h.gang(number).attempt == 2
    h.run(SETTLE_S + LOOK_S)
    assert (size(h, number), h.gang(number).attempt) == (4, 3)
    assert h.gang(number).vain_growths == 0


def test_it_takes_no_room_that_others_wait_for(h: Harness) -> None:
    other = h.submit(job().gpus(8))
    number = h.submit(job().gpus(8).from_to(2, 4, SETTLE_S))
    waiting = h.submit(job().gpus(8).nodes(2))
    end(h, other)
    h.run(LONG_S)
    assert h.state_of(waiting) == "PENDING"
    assert (size(h, number), h.gang(number).attempt) == (3, 1)


def test_it_grows_beside_jobs_that_wait_for_other_nodes() -> None:
    """Any pending job of the site kept it from growing."""
    h = with_a_fast_node()
    on_fast = h.submit(job().gpus(8).labels(disk="fast"))
    other = h.submit(job().gpus(8))
    number = h.submit(job().gpus(8).from_to(2, 5, SETTLE_S))
    waiting = h.submit(job().gpus(8).labels(disk="fast"))
    end(h, other)
    h.run(LONG_S)
    stop_gracefully(h)
    assert (size(h, number), h.state_of(waiting)) == (4, "PENDING")
    end(h, on_fast)
    assert h.state_of(waiting) == "RUNNING"


def test_it_takes_no_watts_that_others_wait_for() -> None:
    h = with_a_fast_node()
    h.do(Shed(DomainId("pdu-b"), fraction=0.9995))
    other = h.submit(job().gpus(8))
    number = h.submit(job().gpus(8).from_to(2, 5, SETTLE_S))
    waiting = h.submit(job().gpus(8).labels(disk="fast"))
    assert h.job(waiting).wait_reason.startswith("waits for watts")
    end(h, other)
    h.run(LONG_S)
    assert (size(h, number), h.gang(number).attempt) == (3, 1)


def test_it_takes_no_quota_that_others_wait_for() -> None:
    h = with_a_fast_node(Quota(gpus=40))
    h.submit(job().gpus(8).labels(disk="fast"))
    other = h.submit(job().gpus(8))
    number = h.submit(job().gpus(8).from_to(2, 5, SETTLE_S))
    h.submit(job().gpus(8).labels(disk="fast"))
    end(h, other)
    h.run(LONG_S)
    assert (size(h, number), h.gang(number).attempt) == (3, 1)


def with_a_fast_node(quota: Quota | None = None) -> Harness:
    built = site().rack("a", 4).rack("b", 1, labels={"disk": "fast"}).build()
    queues = (Queue("default", quota or Quota()),)
    return joined(msgspec.structs.replace(built, queues=queues))


def test_after_the_loss_of_a_node_it_runs_on_the_others(h: Harness) -> None:
    number = h.submit(job().gpus(8).from_to(2, 4))
    node, _ = running(h, number)[0]
    h.cut_off.add(node)
    h.run(20)
    h.do(DeclareOff(node, confirmation=node))
    stop_gracefully(h)
    h.run(5)
    assert (size(h, number), h.state_of(number)) == (3, "RUNNING")


def test_a_shed_that_would_pause_it_restarts_it_on_fewer_nodes() -> None:
    h = joined(site().rack("a", 2, kw=16.0).build())
    number = h.submit(job().gpus(8).from_to(1, 2))
    h.run(10)
    assert size(h, number) == 2
    h.do(Shed(PDU, by_mw=11_000_000))
    h.run(10)
    stop_gracefully(h)
    h.run(20)
    assert size(h, number) < 2
    assert not h.events("gang_resumed")
    h.do(Restore(PDU))
    h.run(LONG_S)
    stop_gracefully(h)
    h.run(5)
    assert size(h, number) == 2


def test_a_restart_of_the_scheduler_keeps_its_size(h: Harness) -> None:
    h.submit(job().gpus(8))
    number = h.submit(job().gpus(8).from_to(1, 4))
    h.restart_scheduler()
    h.join()
    h.run(5)
    assert (size(h, number), h.gang(number).size, h.state_of(number)) == (3, 3, "RUNNING")


def test_a_quota_bounds_its_size() -> None:
    queues = (Queue("default", Quota(gpus=20)),)
    h = joined(msgspec.structs.replace(site().rack("a", 4).build(), queues=queues))
    number = h.submit(job().gpus(8).from_to(1, 4))
    assert size(h, number) == 2
    h.run(LONG_S)
    assert h.gang(number).attempt == 1
