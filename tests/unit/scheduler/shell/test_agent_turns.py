"""Agents are served in turn: what one repeats keeps no other waiting, nor costs writes for ever."""

from typing import cast

import pytest

from wattline_protocol.ids import Epoch, Incarnation, Instant, NodeId, Now, UnixTime
from wattline_protocol.trust.members import Member
from wattline_protocol.wire.agent_messages import Farewell, FromAgent
from wattline_protocol.wire.codec import Codec
from wattline_protocol.wire.transport import Incoming, ServerSocket
from wattline_scheduler.core.model.effects import Effect
from wattline_scheduler.shell import agent_turns
from wattline_scheduler.shell.agent_endpoint import AgentEndpoint
from wattline_scheduler.shell.agent_turns import AGENTS_S, LIMITS, AgentTurns
from wattline_scheduler.shell.clients.fair_queue import QUANTUM_S

OUT: Codec[FromAgent] = Codec(FromAgent)
COST_S = 0.001


class Pipe:
    """A server socket at which nodes say what a test lets them say."""

    def __init__(self) -> None:
        self.arriving: list[Incoming] = []
        self.refused: list[str] = []

    def recv_batch(self, max_messages: int) -> list[Incoming]:
        batch, self.arriving = self.arriving[:max_messages], self.arriving[max_messages:]
        return batch

    def still_heard(self, incoming: Incoming) -> Incoming:
        return incoming

    def refuse(self, incoming: Incoming, reason: str, detail: str) -> None:
        self.refused.append(reason)


class Scene:
    def __init__(self) -> None:
        self.pipe, self.passed_s = Pipe(), 0.0
        self.said: list[str] = []
        nodes = [NodeId(f"n{number}") for number in range(10)]
        desk = AgentEndpoint(cast("ServerSocket", self.pipe), nodes)
        self.turns = AgentTurns(desk, self._clock, self._handle)

    def says(self, node: str, count: int = 1) -> None:
        data = OUT.encode(Farewell(Epoch(1), Incarnation(1)))
        member = Member(node, "agent", node * 20)
        self.pipe.arriving += [Incoming(node.encode(), member, data)] * count

    def step(self) -> list[str]:
        self.said.clear()
        self.turns.take_in()
        self.turns.serve()
        return list(self.said)

    def _clock(self) -> Now:
        return Now(Instant(self.passed_s), UnixTime(self.passed_s))

    def _handle(self, node: NodeId, message: FromAgent, now: Now) -> list[Effect]:
        self.passed_s += COST_S
        self.said.append(node)
        return []


def test_a_flood_of_one_agent_is_handled_between_others() -> None:
    scene = Scene()
    scene.says("n0", 900)
    for number in range(1, 10):
        scene.says(f"n{number}")
    said = scene.step()
    quantum = round(QUANTUM_S / COST_S)
    assert said[: quantum + 9] == ["n0"] * quantum + [f"n{number}" for number in range(1, 10)]


def test_a_step_serves_agents_no_longer_than_it_may() -> None:
    scene = Scene()
    scene.says("n0", 900)
    assert len(scene.step()) == pytest.approx(AGENTS_S / COST_S, abs=1)
    assert scene.turns.next_in_s() == 0.0


def test_an_agent_that_never_stops_gets_its_share_and_no_more() -> None:
    scene = Scene()
    handled = 0
    while scene.passed_s < 60.0:
        scene.says("n0", 200)
        handled += len(scene.step())
        scene.passed_s += 0.01
    assert handled * COST_S <= LIMITS.burst_s + LIMITS.share * scene.passed_s + 0.1
    assert "rate" in scene.pipe.refused
    scene.says("n1")
    assert scene.step()[0] == "n1"


def test_what_is_saved_for_an_agent_counts_more_than_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agent_turns, "_counts_s", lambda message, effects: agent_turns.HELLO_S)
    scene = Scene()
    handled = 0
    while scene.passed_s < 60.0:
        scene.says("n0", 200)
        handled += len(scene.step())
        scene.passed_s += 0.05
    most = (LIMITS.burst_s + LIMITS.share * scene.passed_s) / agent_turns.HELLO_S
    assert handled <= most + 2
