"""Arrays with a throttle (`%2`): never more at a time, whatever happens to them."""

import pytest

from support.core.harness import Harness, joined
from support.core.sites import job, site
from wattline_protocol.ids import DomainId, JobId
from wattline_protocol.wire.client_messages import Restore, Shed
from wattline_scheduler.core.model.jobs.job import LIVE

AT_A_TIME = 2


@pytest.fixture
def h() -> Harness:
    """Room for all of it at once, but for the throttle."""
    return joined(site().rack("a", 2, kw=30.0).build())


def live(h: Harness, number: JobId) -> list[int]:
    """Indices that hold GPUs, by the phases themselves."""
    return [g.number for g in h.job(number).gangs if g.phase_name in LIVE]


def finish(h: Harness, number: JobId) -> None:
    """End what runs until nothing is left; the throttle holds all the while."""
    for _ in range(20):
        assert len(live(h, number)) <= AT_A_TIME
        h.end_tasks()
        h.run(2)
        if h.job(number).is_ended:
            return
    raise AssertionError(f"still {h.state_of(number)}")


def test_the_throttle_counts_what_runs_before_a_restart(h: Harness) -> None:
    number = h.submit(job().array(5, AT_A_TIME))
    assert live(h, number) == [0, 1]
    h.restart_scheduler()
    assert live(h, number) == [0, 1]
    h.run(1)
    assert live(h, number) == [0, 1], "though no node has said yet what it runs"
    h.join()
    h.run(2)
    assert live(h, number) == [0, 1]
    finish(h, number)
    assert h.state_of(number) == "COMPLETED"


def test_an_index_that_is_queued_again_waits_for_its_turn(h: Harness) -> None:
    number = h.submit(job().array(4, AT_A_TIME).retries(1))
    node = h.gang(number, 0).live[0]
    h.agent(node.node).end(node.record.ref, 1)
    h.settle()
    assert live(h, number) == [1, 2], "who backs off leaves its place to the next"
    h.run(3)
    assert live(h, number) == [1, 2]
    assert 0 in h.job(number).ready
    finish(h, number)
    assert h.gang(number, 0).attempt == 2
    assert h.state_of(number) == "COMPLETED"


def test_indices_lost_with_their_node_come_back_under_the_throttle(h: Harness) -> None:
    number = h.submit(job().array(5, AT_A_TIME))
    for agent in h.agents.values():
        agent.lose_tasks()
    h.run(4)
    assert len(live(h, number)) == AT_A_TIME
    finish(h, number)
    assert h.state_of(number) == "COMPLETED"


def test_paused_indices_keep_their_places(h: Harness) -> None:
    number = h.submit(job().gpus(8).array(4, AT_A_TIME))
    h.do(Shed(DomainId("pdu-a"), by_mw=26_000_000))
    h.run(5)
    phases = [h.gang(number, index).phase_name for index in live(h, number)]
    assert "paused" in phases
    assert len(phases) == AT_A_TIME
    h.do(Restore(DomainId("pdu-a")))
    h.run(20)
    assert [h.gang(number, i).phase_name for i in (0, 1)] == ["running", "running"]
    finish(h, number)
    assert h.state_of(number) == "COMPLETED"
