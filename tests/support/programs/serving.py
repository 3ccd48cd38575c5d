"""Builders for tests of the batcher and the gateway's core."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from wattline_protocol.ids import AttemptNo, JobId, TaskNo, TaskRef
from wattline_protocol.wire.api_keys import PriorityClass
from wattline_protocol.wire.routes import WorkerRoute
from wattline_runtime.gateway import events as e
from wattline_runtime.gateway.core import Gateway
from wattline_runtime.serve import batcher as b
from wattline_runtime.wire import (
    OLDEST_WORKER_PROTOCOL_VERSION,
    CancelInfer,
    Infer,
    Reply,
    ToWorker,
    WorkerBeat,
)


def item(number: int, *, cost: int = 1, length: int = 0, deadline_s: float = 1e9) -> b.Item:
    """An input of gateway connection 1."""
    return b.Item(b.Key(1, number), deadline_s, cost, length, f"input {number}")


def batches(effects: Iterable[b.Effect]) -> list[list[int]]:
    """Request numbers of each batch that was started."""
    return [[i.key.id for i in x.items] for x in effects if isinstance(x, b.RunBatch)]


def answers(effects: Iterable[b.Effect]) -> dict[int, str]:
    """What each answered request got: "output", or the reason of its failure."""
    return {
        x.key.id: x.outcome.reason if isinstance(x.outcome, b.Failed) else "output"
        for x in effects
        if isinstance(x, b.Answer)
    }


def outputs(count: int) -> b.BatchEnded:
    """The model did its work for a batch of `count`."""
    return b.BatchEnded(tuple(b.Output(b"1") for _ in range(count)))


def route(task: int, key: str = "", job: int = 1) -> WorkerRoute:
    """A worker's route; its key is named after the task unless given."""
    ref = TaskRef(JobId(job), TaskNo(task), AttemptNo(1))
    return WorkerRoute(ref, key or f"key-{task}")


@dataclass
class GatewayBench:
    """A gateway core with a clock, and everything it did."""

    queue_limit: int = 4
    hold_s: float = 0.0
    now_s: float = 100.0
    gateway: Gateway = field(init=False)
    sent: list[tuple[bytes, ToWorker]] = field(default_factory=list)
    outcomes: dict[int, str] = field(default_factory=dict)
    other: list[e.Effect] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gateway = Gateway(self.queue_limit, self.hold_s)

    def happens(self, event: e.Event) -> None:
        """Give the core an event and note what it does; its books must agree afterwards."""
        for effect in self.gateway.handle(event, self.now_s):
            if isinstance(effect, e.Send):
                self.sent.append((effect.connection, effect.message))
            elif isinstance(effect, e.Answer):
                assert effect.id not in self.outcomes, "answered twice"
                outcome = effect.outcome
                self.outcomes[effect.id] = (
                    outcome.reason if isinstance(outcome, e.Refusal) else outcome.body.decode()
                )
            else:
                self.other.append(effect)
        self.gateway.check_invariants()

    def routes(self, *tasks: int, service: str = "svc") -> "GatewayBench":
        self.happens(e.RoutesChanged({service: tuple(route(task) for task in tasks)}))
        return self

    def worker(
        self, task: int, capacity: int = 2, connection: bytes = b"", **beat: Any
    ) -> "GatewayBench":
        """A beat of the worker of `task`, on the connection of its name unless given."""
        said = {"queued": 0, "running": 0, **beat}
        message = WorkerBeat(OLDEST_WORKER_PROTOCOL_VERSION, "svc", capacity, **said)
        self.happens(e.WorkerMessage(connection or name(task), f"key-{task}", message))
        return self

    def submit(
        self,
        *ids: int,
        service: str = "svc",
        within_s: float = 10.0,
        priority: PriorityClass = "normal",
    ) -> "GatewayBench":
        kind = e.RequestKind(rank=e.PRIORITIES.index(priority))
        for number in ids:
            self.happens(e.Submitted(number, service, b"in", self.now_s + within_s, kind=kind))
        return self

    def reply(self, task: int, *ids: int) -> "GatewayBench":
        for number in ids:
            self.happens(e.WorkerMessage(name(task), f"key-{task}", Reply(number, b"out")))
        return self

    def later(self, seconds: float) -> "GatewayBench":
        self.now_s += seconds
        self.happens(e.Ticked())
        return self

    def inferred(self, task: int) -> list[int]:
        """Requests sent to the worker of `task`, in order."""
        return [m.id for c, m in self.sent if c == name(task) and isinstance(m, Infer)]

    def cancelled(self, task: int) -> list[int]:
        return [m.id for c, m in self.sent if c == name(task) and isinstance(m, CancelInfer)]


def name(task: int) -> bytes:
    """Connection of the worker of `task`."""
    return f"task-{task}".encode()
