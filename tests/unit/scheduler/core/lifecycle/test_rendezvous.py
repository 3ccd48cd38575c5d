"""Where the ranks of a torchrun gang meet: address, port, and a port that is taken."""

import msgspec
import pytest

from support.core.harness import Harness, running
from support.core.sites import job, site
from wattline_protocol.ids import JobId
from wattline_protocol.job.spec import Launch
from wattline_protocol.wire.agent_messages import StartTask
from wattline_protocol.wire.task_order import PORT_TAKEN_STATUS, Rendezvous
from wattline_scheduler.core.lifecycle.ending import CRASH_RUN_S, MAX_REFUSALS

FIRST, LAST = 30_000, 30_015


@pytest.fixture
def h() -> Harness:
    built = site().rack("a", 2).build()
    h = Harness(msgspec.structs.replace(built, rendezvous_ports=(FIRST, LAST)))
    for number, agent in enumerate(h.agents.values(), 1):
        agent.address = f"10.0.0.{number}"
    h.join()
    h.run(2)
    return h


def meets(h: Harness, number: JobId) -> list[Rendezvous]:
    """Of the newest try of the job, one a rank."""
    sent = [message for name in h.agents for message in h.sent_to(name, StartTask)]
    orders = [message.order for message in sent if isinstance(message, StartTask)]
    attempt = h.gang(number).attempt
    of_it = [one for one in orders if (one.ref.job, one.ref.attempt) == (number, attempt)]
    return [one.rendezvous for one in of_it if one.rendezvous is not None]


def taken(h: Harness, number: JobId, run_s: float = 1.0) -> None:
    """The launcher of rank 0 finds its port taken; the others are stopped."""
    for node, ref in running(h, number):
        code = PORT_TAKEN_STATUS if ref.task == 0 else 1
        h.agent(node).end(ref, code, run_s=run_s)
    h.settle()


def test_all_ranks_meet_at_the_address_and_port_of_one_try(h: Harness) -> None:
    number = h.submit(job().gpus(2).nodes(2).torchrun())
    first, second = meets(h, number)
    assert (first.host, first.port) == (second.host, second.port)
    assert first.host in ("10.0.0.1", "10.0.0.2")
    assert FIRST <= first.port <= LAST


def test_containers_of_several_nodes_meet_as_well(h: Harness) -> None:
    in_image = Launch("container", image="localhost/train")
    for agent in h.agents.values():
        agent.launchers = ("container",)
    h.join()
    alone = h.submit(job().gpus(1)._with(launch=in_image))
    number = h.submit(job().gpus(2).nodes(2)._with(launch=in_image))
    first, second = meets(h, number)
    assert (first.host, first.port) == (second.host, second.port)
    assert FIRST <= first.port <= LAST
    assert meets(h, alone) == []


def test_gangs_of_one_node_never_have_the_same_port(h: Harness) -> None:
    numbers = [h.submit(job().gpus(1).torchrun()) for _ in range(LAST - FIRST + 1)]
    ports = [(h.gang(n).live[0].node, meets(h, n)[0].port) for n in numbers]
    assert len(set(ports)) == len(ports)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0", "--help", "a\0b", "224.0.0.1"])
def test_an_address_that_others_cannot_reach_is_no_place_to_meet(h: Harness, address: str) -> None:
    for agent in h.agents.values():
        agent.address = address
    h.join()
    number = h.submit(job().gpus(2).nodes(2).torchrun())
    assert meets(h, number)[0].host in ("a1", "a2")


def test_a_port_that_is_taken_uses_no_retry(h: Harness) -> None:
    number = h.submit(job().gpus(2).nodes(2).torchrun().retries(0))
    before = meets(h, number)[0].port
    taken(h, number)
    h.run(3)
    assert (h.gang(number).attempt, h.gang(number).failures) == (2, 0)
    assert h.state_of(number) in ("STARTING", "RUNNING")
    assert meets(h, number)[0].port != before


def test_of_a_program_without_torchrun_the_status_is_a_failure(h: Harness) -> None:
    number = h.submit(job().gpus(2).retries(0))
    taken(h, number)
    assert h.state_of(number) == "FAILED"


def test_ports_that_are_taken_again_and_again_end_the_job(h: Harness) -> None:
    number = h.submit(job().gpus(2).torchrun())
    h.gang(number).refusals = MAX_REFUSALS - 1
    taken(h, number)
    h.run(12)
    assert h.gang(number).attempt == 2, "it was running in between: in a row all the same"
    taken(h, number)
    assert h.state_of(number) == "FAILED"


def test_a_try_that_ran_ends_the_row(h: Harness) -> None:
    number = h.submit(job().gpus(2).torchrun())
    h.gang(number).refusals = MAX_REFUSALS
    taken(h, number, run_s=CRASH_RUN_S)
    assert h.gang(number).refusals == 1
