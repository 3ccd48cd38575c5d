"""A launcher that not every node has: where jobs of it start, and why they wait."""

import msgspec
import pytest

from support.core.harness import Harness
from support.core.parts import explain_job
from support.core.sites import JobBuilder, job, site
from wattline_protocol.ids import NodeId
from wattline_protocol.job.spec import Launch
from wattline_protocol.wire.agent_messages import StartTask


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
    assert h.refuse(container()) == "no node has launcher container; the site has no labels"
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
