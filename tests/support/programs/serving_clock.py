"""A gateway's core and the batchers of its workers on a virtual clock, under a load."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from random import Random

from support.programs.serving import name, route
from wattline_runtime.gateway import events as e
from wattline_runtime.gateway.core import Gateway
from wattline_runtime.serve import batcher as b
from wattline_runtime.wire import (
    OLDEST_WORKER_PROTOCOL_VERSION,
    CancelInfer,
    Failure,
    FromWorker,
    Infer,
    Reply,
    WorkerBeat,
)

WAY_S = 0.0003
"""From gateway to worker, and back."""
BEAT_S = 0.5
CAPACITY, BUDGET = 64, 32
"""Default settings of a worker."""
BatchSeconds = Callable[[int], float]


@dataclass
class Outcomes:
    """What clients got."""

    answered_s: list[float] = field(default_factory=list)
    """Latencies."""
    refused: dict[str, int] = field(default_factory=dict)
    last_s: float = 0.0


@dataclass
class ServingClock:
    """Workers whose batch of N takes `batch_s(N)`."""

    batch_s: BatchSeconds
    workers: int = 1
    factors: dict[int, float] = field(default_factory=dict)
    """Workers that take so many times as long."""
    failing: set[int] = field(default_factory=set)
    """Workers whose model fails for every input, at once."""
    now_s: float = 0.0
    outcomes: Outcomes = field(default_factory=Outcomes)
    gateway: Gateway = field(default_factory=lambda: Gateway(queue_limit=256, hold_s=2.0))
    batchers: dict[bytes, b.Batcher] = field(default_factory=dict)
    _agenda: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=count)
    _sent_s: dict[int, float] = field(default_factory=dict)
    _windows: dict[bytes, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        routes = tuple(route(task) for task in range(self.workers))
        self._happens(e.RoutesChanged({"svc": routes}))
        for task in range(self.workers):
            self.batchers[name(task)] = b.Batcher(budget=BUDGET, queue_limit=CAPACITY)
            self._beat(name(task))

    def poisson(self, rate_per_s: float, seconds: float, within_s: float) -> Outcomes:
        """Submit at random; returns when all are answered."""
        random, at_s, end_s = Random(1), self.now_s, self.now_s + seconds
        numbers = count()
        while (at_s := at_s + random.expovariate(rate_per_s)) < end_s:
            self._at(at_s, lambda: self._submit(next(numbers), within_s))
        while len(self._sent_s) or self._agenda[0][0] < end_s:
            self.now_s, _, act = heappop(self._agenda)
            act()
        return self.outcomes

    def _at(self, at_s: float, act: Callable[[], None]) -> None:
        heappush(self._agenda, (at_s, next(self._order), act))

    # --- the gateway

    def _submit(self, number: int, within_s: float) -> None:
        self._sent_s[number] = self.now_s
        deadline_s = self.now_s + within_s
        self._at(deadline_s, lambda: self._happens(e.Ticked()))
        self._happens(e.Submitted(number, "svc", b"", deadline_s))

    def _happens(self, event: e.Event) -> None:
        for effect in self.gateway.handle(event, self.now_s):
            if isinstance(effect, e.Answer):
                self._note(effect)
            elif isinstance(effect, e.Send):
                if isinstance(effect.message, Infer):
                    self._deliver(effect.connection, self._arrived(effect.message))
                elif isinstance(effect.message, CancelInfer):
                    self._deliver(effect.connection, b.Cancelled(b.Key(1, effect.message.id)))

    def _arrived(self, infer: Infer) -> b.Arrived:
        deadline_s = self.now_s + infer.budget_ms / 1000
        return b.Arrived((b.Item(b.Key(1, infer.id), deadline_s, 1, 0, None),))

    def _note(self, answer: e.Answer) -> None:
        took_s = self.now_s - self._sent_s.pop(answer.id)
        self.outcomes.last_s = self.now_s
        if isinstance(answer.outcome, e.Output):
            self.outcomes.answered_s.append(took_s)
        else:
            reason = answer.outcome.reason
            self.outcomes.refused[reason] = self.outcomes.refused.get(reason, 0) + 1

    # --- the workers

    def _deliver(self, worker: bytes, event: b.Event) -> None:
        self._at(self.now_s + WAY_S, lambda: self._work(worker, event))

    def _work(self, worker: bytes, event: b.Event) -> None:
        for effect in self.batchers[worker].handle(event, self.now_s):
            if isinstance(effect, b.RunBatch):
                task = int(worker.removeprefix(b"task-"))
                outcome = b.Failed("model_error") if task in self.failing else b.Output(b"1")
                ended = b.BatchEnded(tuple(outcome for _ in effect.items))
                took_s = self.batch_s(len(effect.items)) * self.factors.get(task, 1.0)
                end_s = self.now_s + (0.001 if task in self.failing else took_s)
                self._at(end_s, lambda ended=ended: self._work(worker, ended))  # type: ignore[misc]
            elif isinstance(effect.outcome, b.Output):
                self._send(worker, Reply(effect.key.id, effect.outcome.body))
            else:
                self._send(worker, Failure(effect.key.id, effect.outcome.reason))
        if self.batchers[worker].window != self._windows[worker]:
            self._send_beat(worker)

    def _send(self, worker: bytes, message: FromWorker) -> None:
        key = "key-" + worker.decode().removeprefix("task-")
        event = e.WorkerMessage(worker, key, message)
        self._at(self.now_s + WAY_S, lambda: self._happens(event))

    def _beat(self, worker: bytes) -> None:
        self._send_beat(worker)
        self._at(self.now_s + BEAT_S, lambda: self._beat(worker))

    def _send_beat(self, worker: bytes) -> None:
        batcher = self.batchers[worker]
        self._windows[worker] = batcher.window
        capacity = min(CAPACITY, batcher.window)
        batch_s, lone_s = batcher.times.batch_s(capacity // 2), batcher.times.batch_s(1)
        beat = WorkerBeat(
            OLDEST_WORKER_PROTOCOL_VERSION, "svc", capacity, 0, 0, False, batch_s, lone_s
        )
        self._send(worker, beat)
