"""A scheduler says extremes in every field: the agent runs on, and obeys its next incarnation."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.agent_process import AgentProcess, agent_on
from support.fake_scheduler import FakeScheduler
from support.simnode import make_node, serving
from wattline_bench.abuse.extremes import extremes
from wattline_protocol.messages import Beat, LeaseAck, ToAgent
from wattline_sim.node import NodeDir

GPUS = 2
STEP = 5
"""One of so many messages."""
PUMP_EVERY = 20
LEASE_MW = 8_000_000

FENCES = frozenset({"welcome", "refused", "rehello"})
"""They answer a Hello of the agent's, or make it say one: another conversation than this one."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeDir]:
    made = make_node(tmp_path_factory.mktemp("sim"), gpus=GPUS)
    with serving(made):
        yield made


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FakeScheduler]:
    scheduler = FakeScheduler(tmp_path / "n1.toml")
    yield scheduler
    scheduler.close()


@pytest.fixture
def agent(node: NodeDir, site: FakeScheduler, tmp_path: Path) -> Iterator[AgentProcess]:
    with agent_on(node, tmp_path / "n1.toml", tmp_path / "state") as running:
        site.adopted()
        yield running


def addressed(site: FakeScheduler, message: dict[str, Any], path: tuple[str | int, ...]) -> bytes:
    """With the names under which it is obeyed, but for what is walked."""
    epoch, incarnation, seq = site.names()
    names = {"epoch": epoch, "incarnation": incarnation, "seq": seq}
    given = {name: value for name, value in names.items() if name in message and path[0] != name}
    return msgspec.msgpack.encode({**message, **given})


def test_extremes_of_a_scheduler_end_nothing(agent: AgentProcess, site: FakeScheduler) -> None:
    sent = 0
    for one in extremes(ToAgent, step=STEP):
        if one.tag in FENCES:
            continue
        site.send_bytes(addressed(site, one.message, one.path))
        sent += 1
        if sent % PUMP_EVERY == 0:
            site.pump(0.01)
    assert sent > 500
    beats = len(site.all(Beat))
    site.until(lambda: len(site.all(Beat)) > beats + 2, "beats after the extremes")
    site.close()  # a lease with the largest number was the last one of this epoch
    site.epoch += 1
    site.seq = 0
    site.open()
    incarnation = site.incarnation
    site.until(lambda: site.incarnation > incarnation, "a new Hello")
    site.adopted()
    seq = site.lease(LEASE_MW, (300_000,) * GPUS)
    site.until(lambda: any(ack.seq == seq for ack in site.all(LeaseAck)), "the lease is in force")
    assert agent.process is not None
    assert agent.process.poll() is None
