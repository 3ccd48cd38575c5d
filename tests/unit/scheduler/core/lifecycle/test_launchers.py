"""A launcher that not every node has: where jobs of it start, and why they wait."""

import msgspec
import pytest

from support.core.harness import Harness
from support.core.parts import explain_job
from support.core.sites import JobBuilder, job, site
from wattline_protocol.ids import NodeId
from wattline_protocol.job.spec import Launch
from wattline_protocol.wire.agent_messages import StartTask, TaskExit
from wattline_protocol.wire.task_order import PORT_TAKEN_STATUS
from wattline_scheduler.core.model.jobs.exit_reasons import meaning


def site_where(**launchers: tuple[str, ...]) -> Harness:
    """Nodes a1, a2, … with the launchers that their agents report."""
    h = Harness(site().rack("a", len(launchers)).build())
    for name, reported in launchers.items():
        h.agents[NodeId(name)].launchers = reported
    h.join()
    h.run(2)
    return h


def container(gpus: int = 1, image: str = "localhost/train") -> JobBuilder:
    launch = Launch("container", image=image)
    return JobBuilder(msgspec.structs.replace(job().gpus(gpus).build(), launch=launch))


def orders(h: Harness) -> list[tuple[NodeId, str]]:
    return [(node, said.order.image) for node, said in h.sent if isinstance(said, StartTask)]


def test_a_container_starts_where_an_agent_has_podman_and_its_order_has_the_image() -> None:
    h = site_where(a1=(), a2=("container", "of a later version"))
    h.submit(container())
    h.run(3)
    assert orders(h) == [("a2", "localhost/train")]


def test_a_container_waits_for_a_node_that_has_podman_and_names_what_is_missing() -> None:
    h = site_where(a1=("container",), a2=())
    first, second = h.submit(container(gpus=8)), h.submit(container())
    h.run(3)
    assert (h.state_of(first), h.state_of(second)) == ("RUNNING", "PENDING")
    view = explain_job(h.cluster.state, h.job(second), h.now)
    missing = {one.filter: one.missing for one in view.refusals}
    assert missing["labels"] == "a2: launcher container; it has no labels"


def test_a_container_that_no_node_can_start_is_denied_until_one_can() -> None:
    h = site_where(a1=())
    why = "no node has launcher container; `wattline agent --check` on a node says what it lacks"
    assert h.refuse(container()) == why
    h.agents[NodeId("a1")].launchers = ("container",)
    h.agents[NodeId("a1")].say_hello()
    h.run(3)
    h.submit(container())
    h.run(3)
    assert orders(h) == [("a1", "localhost/train")]


@pytest.mark.parametrize("image", ["", "--privileged", "docker-archive:/etc/shadow", "a b"])
def test_a_client_that_checks_nothing_gets_no_other_image_through(image: str) -> None:
    h = site_where(a1=("container",))
    assert "image" in h.refuse(container(image=image))


def test_the_tasks_of_a_ray_gang_meet_at_a_port_and_one_that_is_taken_costs_no_retry() -> None:
    h = site_where(a1=("ray",), a2=("ray",))
    spec = job().gpus(1).nodes(2).build()
    number = h.submit(JobBuilder(msgspec.structs.replace(spec, launch=Launch("ray"))))
    h.run(3)
    meets = [s.order.rendezvous for _, s in h.sent if isinstance(s, StartTask)]
    assert sorted(meet.node_rank for meet in meets if meet) == [0, 1]
    assert len({(meet.host, meet.port) for meet in meets if meet}) == 1
    taken = TaskExit("exited", PORT_TAKEN_STATUS)
    assert meaning(taken, "ray") == ("CANCELLED", "requeued")
    assert h.state_of(number) == "RUNNING"
