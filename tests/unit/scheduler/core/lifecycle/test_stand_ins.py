"""Another replica stands in for one on a lost host; the lost one is never tried twice (I7)."""

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.rolling import rolling
from support.core.sites import job, site
from wattline_protocol.ids import JobId, NodeId
from wattline_protocol.job.selection import only
from wattline_protocol.views.site_views import JobState
from wattline_protocol.wire.agent_messages import Farewell
from wattline_protocol.wire.client_messages import Cancel, Update
from wattline_scheduler.core.agents.heartbeat import CLOCK_DRIFT, KILL_TIME_S, LEASE_MARGIN_S
from wattline_scheduler.core.lifecycle.job_state import state_of_gang
from wattline_scheduler.core.lifecycle.stand_ins import SETTLED_S, is_lost
from wattline_scheduler.core.model.events import MembersSeen
from wattline_scheduler.core.model.node import Adopted
from wattline_scheduler.records import MemberRecord

ISOLATION_S = 15.0
TASK_LEASE_S = 100.0
CERTAIN_S = TASK_LEASE_S * (1 + CLOCK_DRIFT) + KILL_TIME_S + LEASE_MARGIN_S
NOTICED_S = ISOLATION_S + 2


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 4).times(task_lease_s=TASK_LEASE_S).build())


def cut(h: Harness, number: JobId, gang: int = 0) -> NodeId:
    """Cut off the node of a replica."""
    node = h.gang(number, gang).live[0].node
    h.cut_off.add(node)
    return node


def states(h: Harness, number: JobId) -> list[tuple[JobState, int]]:
    """State and attempt of each replica."""
    return [(state_of_gang(gang), gang.attempt) for gang in h.job(number).gangs]


def test_a_stand_in_runs_elsewhere_under_its_own_index_as_soon_as_the_node_is_isolated(
    h: Harness,
) -> None:
    number = h.submit(job().gpus(1).service(2))
    node = cut(h, number)
    committed = h.cluster.state.books.committed_mw(node)
    h.run(ISOLATION_S - 2)
    assert len(h.job(number).gangs) == 2
    h.run(4)
    assert states(h, number) == [("RUNNING", 1), ("RUNNING", 1), ("RUNNING", 1)]
    assert is_lost(h.cluster.state, h.gang(number)), "so it has no route"
    assert h.cluster.state.books.committed_mw(node) >= committed
    places = [h.gang(number, n).live[0].node for n in range(3)]
    assert len(set(places)) == 3
    (event,) = h.events("replica_replaced")
    assert "[2] stands in for a replica whose node does not report" in event.text
    h.run(NOTICED_S)
    assert len(h.job(number).gangs) == 3, "one is enough"


def test_it_ends_once_the_node_reports_again(h: Harness) -> None:
    number = h.submit(job().gpus(1).service(2))
    cut(h, number)
    h.run(SETTLED_S)
    assert states(h, number)[2] == ("RUNNING", 1)
    h.cut_off.clear()
    h.run(4)
    assert states(h, number) == [("RUNNING", 1), ("RUNNING", 1), ("CANCELLED", 1)]
    assert not is_lost(h.cluster.state, h.gang(number))
    assert h.state_of(number) == "RUNNING"
    cut(h, number, 1)
    h.run(NOTICED_S)
    assert states(h, number)[2] == ("RUNNING", 2), "its index is used again"


def test_a_replica_that_is_known_dead_starts_anew_and_settles_before_its_stand_in_ends(
    h: Harness,
) -> None:
    number = h.submit(job().gpus(1).service(1))
    node = cut(h, number)
    h.run(CERTAIN_S + 5)
    assert states(h, number) == [("RUNNING", 2), ("RUNNING", 1)]
    assert h.gang(number).live[0].node != node
    h.run(SETTLED_S + 4)
    assert states(h, number) == [("RUNNING", 2), ("CANCELLED", 1)]


def test_a_service_that_continues_waits_for_its_node(h: Harness) -> None:
    wanted = job().gpus(1).service(1)
    recovery = msgspec.structs.replace(wanted.spec.recovery, on_isolation="continue")
    wanted.spec = msgspec.structs.replace(wanted.spec, recovery=recovery)
    number = h.submit(wanted)
    cut(h, number)
    h.run(CERTAIN_S * 2)
    assert states(h, number) == [("RUNNING", 1)]
    assert not is_lost(h.cluster.state, h.gang(number))


def test_an_agent_that_stops_in_order_is_not_lost_before_it_is_isolated(h: Harness) -> None:
    number = h.submit(job().gpus(1).service(1))
    node = cut(h, number)
    link, epoch = h.node(node).link, h.cluster.state.epoch
    assert isinstance(link, Adopted)
    h.say(node, Farewell(epoch, link.incarnation))
    h.run(ISOLATION_S - 3)
    assert h.node(node).is_silent
    assert states(h, number) == [("RUNNING", 1)]
    assert not is_lost(h.cluster.state, h.gang(number))
    h.run(6)
    assert len(states(h, number)) == 2


def test_a_lost_stand_in_is_replaced_too(h: Harness) -> None:
    number = h.submit(job().gpus(1).service(1))
    cut(h, number)
    h.run(NOTICED_S)
    cut(h, number, 1)
    h.run(NOTICED_S)
    assert states(h, number) == [("RUNNING", 1)] * 3
    h.cut_off.clear()
    h.run(SETTLED_S)
    assert [state for state, _ in states(h, number)] == ["RUNNING", "CANCELLED", "CANCELLED"]


def test_after_a_restart_of_the_scheduler_there_is_still_one(h: Harness) -> None:
    number = h.submit(job().gpus(1).service(1))
    node = cut(h, number)
    h.run(NOTICED_S)
    h.restart_scheduler()
    h.join(*(name for name in h.agents if name != node))
    h.run(NOTICED_S + 3)
    assert states(h, number) == [("RUNNING", 1)] * 2


def test_scaled_up_a_stand_in_becomes_a_replica(h: Harness) -> None:
    number = h.submit(job().gpus(1).service(2))
    cut(h, number)
    h.run(NOTICED_S)
    h.do(Update(only(number), {"replicas": 3}))
    h.run(3)
    assert states(h, number) == [("RUNNING", 1)] * 4, "another one stands in"
    h.cut_off.clear()
    h.run(SETTLED_S + 3)
    assert [state for state, _ in states(h, number)] == ["RUNNING"] * 3 + ["CANCELLED"]


def test_a_cancelled_service_ends_with_its_stand_ins(h: Harness) -> None:
    number = h.submit(job().gpus(1).service(2))
    cut(h, number)
    h.run(NOTICED_S)
    assert [state for state, _ in states(h, number)] == ["RUNNING"] * 3
    h.do(Cancel(only(number)))
    h.run(CERTAIN_S + 10)
    assert {state for state, _ in states(h, number)} == {"CANCELLED"}


@pytest.mark.parametrize("gateways", [("gw",), ("east", "west")])
def test_a_host_that_the_gateways_miss_too_is_lost_after_three_late_beats(
    gateways: tuple[str, ...],
) -> None:
    h = rolling(*gateways, nodes=3)
    number = h.submit(job().gpus(1).service(2))
    h.run(4)
    node = cut(h, number)
    h.run(5)
    assert states(h, number) == [("RUNNING", 1)] * 3
    assert h.gang(number, 2).live[0].node not in {node, h.gang(number, 1).live[0].node}
    assert is_lost(h.cluster.state, h.gang(number))
    h.cut_off.clear()
    h.run(SETTLED_S)
    assert states(h, number) == [("RUNNING", 1), ("RUNNING", 1), ("CANCELLED", 1)]


def test_a_gateway_that_is_gone_does_not_delay_a_stand_in() -> None:
    h = rolling("east", "west", nodes=3)
    members = (MemberRecord(one, "gateway", one[0].upper() * 40) for one in ("east", "west"))
    h.handle(MembersSeen(tuple(members)))
    number = h.submit(job().gpus(1).service(2))
    h.run(4)
    h.reporting.discard("west")
    h.run(61)
    cut(h, number)
    h.run(5)
    assert states(h, number) == [("RUNNING", 1)] * 3


@pytest.mark.parametrize("gateways", [("gw",), ("east", "west")])
def test_late_beats_alone_are_no_loss(gateways: tuple[str, ...]) -> None:
    """One gateway has it still, or none tells: the scheduler's own network may be the reason."""
    h = rolling(*gateways, nodes=3)
    number = h.submit(job().gpus(1).service(2))
    h.run(4)
    cut(h, number)
    if len(gateways) > 1:
        h.reporting.discard("west")  # what it last said is that both are ready
    else:
        h.reporting.clear()
    h.run(5)
    assert len(h.job(number).gangs) == 2
