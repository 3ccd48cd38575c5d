"""A simulated node, a scheduler's socket, and an agent between them, for the tests of this folder.

A file says in `GPUS` how many its nodes have.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.node.agent_process import AgentProcess, agent_on
from support.node.simnode import make_node, serving
from support.programs.fake_scheduler import FakeScheduler
from wattline_sim import control
from wattline_sim.node import NodeDir


@pytest.fixture(scope="module")
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeDir]:
    """One node for all tests of a file."""
    made = make_node(tmp_path_factory.mktemp("sim"), gpus=request.module.GPUS)
    with serving(made):
        yield made


@pytest.fixture
def node(served: NodeDir) -> Iterator[NodeDir]:
    """It, healed after each test."""
    yield served
    control.release(served.path)


@pytest.fixture
def fresh_node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NodeDir]:
    """A node for one test."""
    made = make_node(tmp_path / "node", gpus=request.module.GPUS)
    with serving(made):
        yield made


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FakeScheduler]:
    """A scheduler's socket, and a bundle for it in tmp_path."""
    scheduler = FakeScheduler(tmp_path / "n1.toml")
    yield scheduler
    scheduler.close()


@pytest.fixture
def agent(node: NodeDir, site: FakeScheduler, tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent that has joined."""
    with agent_on(node, tmp_path / "n1.toml", tmp_path / "state") as running:
        site.adopted()
        yield running
