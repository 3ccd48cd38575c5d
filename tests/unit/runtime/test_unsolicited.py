"""Workers that send beats, and answers to nothing, as fast as they can."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from support.programs.serving import GatewayBench, name, route
from wattline_protocol.trust.members import Member
from wattline_protocol.wire.codec import Codec
from wattline_protocol.wire.routes import Routes
from wattline_protocol.wire.transport import Incoming
from wattline_runtime.gateway import events as e
from wattline_runtime.gateway.connections.unsolicited import (
    BEAT_COST,
    BURST,
    MUTED_S,
    PER_S,
    UnsolicitedLimit,
)
from wattline_runtime.gateway.connections.worker_socket import WorkerSocket
from wattline_runtime.gateway.core import Gateway
from wattline_runtime.gateway.shell import GatewayShell
from wattline_runtime.gateway.stats import Stats
from wattline_runtime.gateway.workers import WORKER_SILENCE_S
from wattline_runtime.wire import Chunk, Failure, FromWorker, Reply, WorkerBeat

BEAT = WorkerBeat(1, "svc", 4, 0, 0)
CODEC: Codec[list[FromWorker]] = Codec(list[FromWorker])


@dataclass
class FakeSocket:
    """Frames that lie there, and the refusals of them."""

    frames: list[Incoming]
    refused: list[str] = field(default_factory=list)

    @property
    def server(self) -> "FakeSocket":
        return self

    @property
    def has_more(self) -> bool:
        return bool(self.frames)

    def receive(self) -> list[Incoming]:
        frames, self.frames = self.frames, []
        return frames

    def allow(self, _services: object, _held: object) -> None:
        """All are."""

    def send(self, _connection: bytes, _data: bytes) -> bool:
        return True

    def refuse(self, _incoming: Incoming, reason: str, _detail: str) -> None:
        self.refused.append(reason)


@dataclass
class CountingGateway(Gateway):
    """Counts the messages that it is given of each connection."""

    taken: Counter[bytes] = field(default_factory=Counter)

    def handle(self, event: e.Event, now_s: float) -> list[e.Effect]:
        if isinstance(event, e.WorkerMessage):
            self.taken[event.connection] += 1
        return super().handle(event, now_s)


def frame(task: int, data: bytes) -> Incoming:
    return Incoming(name(task), Member(f"svc/{task}", "worker", f"key-{task}"), data)


def taken(frames: list[Incoming]) -> tuple[dict[bytes, int], list[str]]:
    """Messages of each connection that the core got, and the reasons of refusals."""
    gateway, socket = CountingGateway(queue_limit=4, hold_s=0.0), FakeSocket(frames)

    async def run() -> None:
        shell = GatewayShell(gateway, cast("WorkerSocket", socket), Stats())
        shell.change_routes(Routes({"svc": (route(1), route(2))}))
        turn: Callable[[], None] = cast("Any", shell)._turn
        turn()

    asyncio.run(run())
    return dict(gateway.taken), socket.refused


@pytest.mark.parametrize("message", [BEAT, Failure(7, "bad_input"), Reply(7, b"1"), Chunk(7, b"1")])
def test_a_worker_that_sends_without_end_is_muted_and_one_beside_it_is_heard(
    message: FromWorker,
) -> None:
    flood = [frame(1, CODEC.encode([message] * 1024)) for _ in range(40)]
    found, refused = taken([*flood, frame(2, CODEC.encode([BEAT] * 2))])
    cost = BEAT_COST if message is BEAT else 1
    assert found == {name(1): BURST // cost, name(2): 2}
    assert refused == ["rate"], "it is logged once"


def test_a_worker_whose_frames_are_malformed_is_muted() -> None:
    found, refused = taken([frame(1, b"\xc1")] * 100 + [frame(1, CODEC.encode([BEAT]))])
    assert (found, set(refused)) == ({}, {"malformed", "rate"})
    assert len(refused) < 30


def test_what_a_worker_was_asked_for_is_not_counted() -> None:
    bench = GatewayBench().routes(1).worker(1, newest=2, methods=("predict", "chat"))
    kind = e.RequestKind("chat", is_stream=True)
    bench.submit(1)
    bench.happens(e.Submitted(2, "svc", b"in", bench.now_s + 10, kind=kind))
    pool = bench.gateway.pool
    due = Reply(1, b"1"), Failure(1, "bad_input"), Chunk(2, b"1")
    undue = Reply(3, b"1"), Chunk(1, b"no stream"), BEAT
    assert [pool.is_due(name(1), one) for one in (*due, *undue)] == [True] * 3 + [False] * 3
    assert not pool.is_due(name(2), due[0])
    bench.happens(e.Abandoned(2))
    assert not pool.is_due(name(1), Chunk(2, b"its client has left"))
    assert pool.is_due(name(1), Failure(2, "cancelled"))


def test_a_muted_worker_is_lost_first_and_heard_again_later() -> None:
    assert MUTED_S > WORKER_SILENCE_S, "its requests go to other workers"
    limit = UnsolicitedLimit()
    while limit.allows("key", BEAT, 0.0):
        assert not limit.is_muted("key", 0.0)
    assert limit.is_muted("key", MUTED_S - 0.1)
    assert not limit.is_muted("other", 0.0)
    assert not limit.is_muted("key", MUTED_S)
    assert all(limit.allows("key", BEAT, MUTED_S + n * BEAT_COST / PER_S) for n in range(1000))
