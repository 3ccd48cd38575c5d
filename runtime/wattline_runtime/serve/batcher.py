"""Batching policy of the worker, without I/O.

How it works. While the model is idle, an arrival runs at once: a lone request never waits for
others. While the model is busy, arrivals are queued; when it is free, the next batch is built
around the oldest queued one (so none starves) and ordered by length. What waits is cut by length
into the runs that take least time as measured, and the run of the oldest is the batch; where
nothing was measured yet, its nearest neighbours are, up to the cost budget. Cancelled requests
never reach the model, nor do those that the measured batch time makes late; a batch is cut until
it ends before the deadlines in it. A batch that fails as a whole is run again one by one, so that
one bad input fails only itself.

Every item that arrived is answered exactly once; see `Batcher.check_invariants`.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, assert_never

import msgspec

from wattline_runtime.serve.batch_times import BatchTimes
from wattline_runtime.wire import FailureReason


class Key(NamedTuple):
    """Identifies a request of a gateway connection."""

    gateway: int
    id: int


class Item(msgspec.Struct, frozen=True):
    """One input waiting for the model."""

    key: Key
    deadline_s: float
    """Monotonic time after which the output is no longer needed."""
    cost: int
    """Its part of a batch's budget; 1 unless the model specifies a cost."""
    length: int
    """Determines padding; 0 unless the model specifies a length."""
    value: object


class Output(msgspec.Struct, frozen=True):
    """The model's output, as JSON, or bytes as they are; empty at the end of a stream."""

    body: bytes
    is_bytes: bool = False
    tokens: int = 0
    """As the model reports them."""


class Failed(msgspec.Struct, frozen=True):
    """A failure and its reason."""

    reason: FailureReason
    detail: str = ""


Outcome = Output | Failed


class Arrived(msgspec.Struct, frozen=True):
    """Inputs that arrived together; they may share a batch."""

    items: tuple[Item, ...]


class Cancelled(msgspec.Struct, frozen=True):
    """This request is no longer needed."""

    key: Key


class GatewayLost(msgspec.Struct, frozen=True):
    """A gateway is disconnected, and its requests are no longer needed."""

    gateway: int


class BatchEnded(msgspec.Struct, frozen=True):
    """The model is free again. One outcome an item, in the batch's order."""

    outcomes: tuple[Outcome, ...]


class BatchBroke(msgspec.Struct, frozen=True):
    """The model is free again, but failed for the batch as a whole."""

    failure: Failed


class OutOfMemory(msgspec.Struct, frozen=True):
    """The model is free again; its memory did not suffice for the batch."""


class DrainStarted(msgspec.Struct, frozen=True):
    """Finish the present requests, accept no new ones."""


class WasFrozen(msgspec.Struct, frozen=True):
    """The process did not run for so long, so neither did its batch."""

    seconds: float


class ModelHung(msgspec.Struct, frozen=True):
    """The running batch will not end: return what waits. The gateway retries the batch's items
    when this worker has ended, since each of them may be the reason."""


class GraceOver(msgspec.Struct, frozen=True):
    """Return unfinished requests, so that another worker can serve them."""


Event = (
    Arrived
    | Cancelled
    | GatewayLost
    | BatchEnded
    | BatchBroke
    | OutOfMemory
    | DrainStarted
    | WasFrozen
    | ModelHung
    | GraceOver
)


class RunBatch(msgspec.Struct, frozen=True):
    """Pass these to the model now; it is idle."""

    items: tuple[Item, ...]


class Answer(msgspec.Struct, frozen=True):
    """Answer to the gateway; exactly one for each item that arrived."""

    key: Key
    outcome: Outcome


Effect = RunBatch | Answer


def choose_batch(waiting: Sequence[Item], budget: int) -> list[Item]:
    """The oldest of `waiting` and its neighbours by length, ordered by length.

    Their costs sum to at most `budget`; an item that costs more than that runs alone.
    """
    oldest = waiting[0]
    ordered = sorted(waiting, key=lambda item: item.length)
    low = high = ordered.index(oldest)
    left = budget - oldest.cost
    below, above = low - 1, high + 1
    while left > 0 and (below >= 0 or above < len(ordered)):
        is_upward = below < 0 or (
            above < len(ordered)
            and ordered[above].length - oldest.length <= oldest.length - ordered[below].length
        )
        candidate = ordered[above if is_upward else below]
        if candidate.cost > left:  # this side is closed: the batch stays one run of neighbours
            below, above = (below, len(ordered)) if is_upward else (-1, above)
            continue
        left -= candidate.cost
        if is_upward:
            high, above = above, above + 1
        else:
            low, below = below, below - 1
    return ordered[low : high + 1]


@dataclass(slots=True)
class Batcher:
    """All requests in a worker; changes only through handle()."""

    budget: int
    """Maximum cost of a batch; less once the model's memory did not suffice for one."""
    queue_limit: int
    """Maximum of queued items; more are refused as overloaded."""
    times: BatchTimes = field(default_factory=BatchTimes)
    _waiting: OrderedDict[Key, Item] = field(default_factory=OrderedDict)
    _alone: deque[Item] = field(default_factory=deque)
    _running: tuple[Item, ...] = ()
    _since_s: float = 0.0
    """When the running batch was started."""
    _dropped: set[Key] = field(default_factory=set)
    """Running items that were cancelled: their outputs are discarded."""
    _is_draining: bool = False

    @property
    def queued(self) -> int:
        """Items that wait for the model."""
        return len(self._waiting) + len(self._alone)

    @property
    def running(self) -> int:
        """Items the model is processing."""
        return len(self._running)

    @property
    def window(self) -> int:
        """Requests that a gateway should have here at once, queued ones included."""
        return self.times.window(self.budget)

    def batch_age_s(self, now_s: float) -> float:
        """How long the running batch has been running; 0 without one."""
        return now_s - self._since_s if self._running else 0.0

    @property
    def is_draining(self) -> bool:
        """True: no new items are accepted."""
        return self._is_draining

    def handle(self, event: Event, now_s: float) -> list[Effect]:
        """Handle one event; the effects are to be executed in order."""
        match event:
            case Arrived():
                return [*self._arrived(event.items), *self._dispatch(now_s)]
            case Cancelled():
                return self._cancelled(event.key)
            case GatewayLost():
                return self._gateway_lost(event.gateway)
            case BatchEnded():
                self._measure(now_s)
                return [*self._ended(event.outcomes), *self._dispatch(now_s)]
            case BatchBroke():
                return [*self._broke(event.failure), *self._dispatch(now_s)]
            case OutOfMemory():
                return [*self._halved(), *self._dispatch(now_s)]
            case DrainStarted():
                self._is_draining = True
                return []
            case WasFrozen():
                self._since_s += event.seconds
                return []
            case ModelHung():
                self._is_draining = True
                return self._hand_back_queued()
            case GraceOver():
                return self._hand_back()
            case _:
                assert_never(event)

    def _arrived(self, items: Sequence[Item]) -> list[Effect]:
        effects: list[Effect] = []
        held = {item.key for item in (*self._alone, *self._running)}
        for item in items:
            if item.key in self._waiting or item.key in held:
                continue  # a repeat: the first one will be answered
            if self._is_draining:
                effects.append(Answer(item.key, Failed("draining")))
            elif self.queued >= self.queue_limit:
                effects.append(Answer(item.key, Failed("overloaded", "the worker's queue is full")))
            else:
                self._waiting[item.key] = item
        return effects

    def _dispatch(self, now_s: float) -> list[Effect]:
        if self._running:
            return []
        effects = self._drop_late(now_s)
        if self._alone:
            self._running = (self._alone.popleft(),)
        elif self._waiting:
            self._running = tuple(self._next_batch(now_s))
            for item in self._running:
                del self._waiting[item.key]
        if self._running:
            self._since_s = now_s
            effects.append(RunBatch(self._running))
        return effects

    def _next_batch(self, now_s: float) -> list[Item]:
        """The largest batch, by halves, that is expected to end before each deadline in it."""
        waiting = list(self._waiting.values())
        budget = self.budget
        while True:
            batch = self._choose(waiting, budget)
            cost = sum(item.cost for item in batch)
            end_s = now_s + self.times.expected_s(cost, batch[-1].length)
            if len(batch) == 1 or end_s <= min(item.deadline_s for item in batch):
                return batch
            budget = cost // 2

    def _choose(self, waiting: Sequence[Item], budget: int) -> list[Item]:
        """The oldest one's part of the cut that takes least time, or its neighbours by length."""
        ordered = sorted(waiting, key=lambda item: item.length)
        if ordered[-1].length:
            sizes = [(item.length, item.cost) for item in ordered]
            run = self.times.by_length.best_run(sizes, ordered.index(waiting[0]), budget)
            if run is not None:
                return ordered[run[0] : run[1] + 1]
        return choose_batch(waiting, budget)

    def _measure(self, now_s: float) -> None:
        running = self._running
        if running:
            cost = sum(item.cost for item in running)
            took_s = now_s - self._since_s
            self.times.note(cost, len(running), running[-1].length, took_s, now_s)

    def _drop_late(self, now_s: float) -> list[Effect]:
        """Answer all that cannot end in time. Where that is every item, the one with the most time
        left is kept: only a run can show that the measured time holds no longer."""
        items = (*self._alone, *self._waiting.values())
        sizes = {(item.cost, item.length) for item in items}
        ends_s = {size: now_s + self.times.expected_s(*size) for size in sizes}
        late = [item for item in items if item.deadline_s <= ends_s[item.cost, item.length]]
        if late and len(late) == len(items):
            last = max(late, key=lambda item: item.deadline_s)
            if last.deadline_s > now_s:
                late.remove(last)
        self._forget({item.key for item in late})
        return [Answer(item.key, Failed("expired")) for item in late]

    def _forget(self, keys: set[Key]) -> None:
        if not keys:
            return
        for key in keys:
            self._waiting.pop(key, None)
        self._alone = deque(item for item in self._alone if item.key not in keys)

    def _cancelled(self, key: Key) -> list[Effect]:
        if any(item.key == key for item in self._running):
            self._dropped.add(key)
            return []
        if key not in self._waiting and all(item.key != key for item in self._alone):
            return []  # already answered: the two messages crossed
        self._forget({key})
        return [Answer(key, Failed("cancelled"))]

    def _gateway_lost(self, gateway: int) -> list[Effect]:
        keys = [i.key for i in (*self._alone, *self._waiting.values(), *self._running)]
        return [effect for key in keys if key.gateway == gateway for effect in self._cancelled(key)]

    def _ended(self, outcomes: Sequence[Outcome]) -> list[Effect]:
        if not self._running:
            return []  # returned in the meantime
        pairs = list(zip(self._running, outcomes, strict=True))
        dropped = self._dropped
        self._running, self._dropped = (), set()
        return [
            Answer(item.key, Failed("cancelled") if item.key in dropped else outcome)
            for item, outcome in pairs
        ]

    def _broke(self, failure: Failed) -> list[Effect]:
        if len(self._running) == 1:
            return self._ended((failure,))
        dropped = [item for item in self._running if item.key in self._dropped]
        self._alone.extend(item for item in self._running if item.key not in self._dropped)
        self._running, self._dropped = (), set()
        return [Answer(item.key, Failed("cancelled")) for item in dropped]

    def _halved(self) -> list[Effect]:
        """Half of this batch's cost is the budget from now on; its items wait again, first."""
        if len(self._running) == 1:
            return self._ended((Failed("model_error", "out of memory for this input alone"),))
        running, dropped = self._running, self._dropped
        self.budget = max(1, sum(item.cost for item in running) // 2)
        self._running, self._dropped = (), set()
        for item in sorted(running, key=lambda item: item.key.id, reverse=True):
            if item.key not in dropped:
                self._waiting[item.key] = item
                self._waiting.move_to_end(item.key, last=False)
        return [Answer(item.key, Failed("cancelled")) for item in running if item.key in dropped]

    def _hand_back(self) -> list[Effect]:
        running, self._running, self._dropped = self._running, (), set()
        self._is_draining = True
        effects: list[Effect] = [Answer(item.key, Failed("draining")) for item in running]
        return [*effects, *self._hand_back_queued()]

    def _hand_back_queued(self) -> list[Effect]:
        items = (*self._alone, *self._waiting.values())
        self._alone.clear()
        self._waiting.clear()
        return [Answer(item.key, Failed("draining")) for item in items]

    def check_invariants(self) -> None:
        """Raise AssertionError unless the books agree."""
        held = [*(item.key for item in self._running), *(item.key for item in self._alone)]
        held.extend(self._waiting)
        if len(held) != len(set(held)):
            raise AssertionError(f"held twice: {held}")
        if self.queued and not self._running:
            raise AssertionError("requests wait while the model is idle")
        if not self._dropped <= {item.key for item in self._running}:
            raise AssertionError(f"dropped but not running: {self._dropped}")
        cost = sum(item.cost for item in self._running)
        if len(self._running) > 1 and cost > self.budget:
            raise AssertionError(f"a batch of cost {cost}, budget {self.budget}")
