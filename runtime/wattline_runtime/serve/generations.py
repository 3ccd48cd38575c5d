"""Requests that a model answers piece by piece: which run, which wait, without I/O.

Up to `limit` generations run at once; the model thread takes them in turns, one piece each. The
others wait in order of arrival. Every request that arrived is answered exactly once.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from wattline_runtime.serve.batcher import Answer, Failed, Key, Outcome


@dataclass(frozen=True, slots=True)
class Call:
    """A request for one method of the model."""

    key: Key
    deadline_s: float
    """Monotonic time by which it must have begun."""
    method: str
    body: bytes
    is_stream: bool
    """Its pieces are sent as they come; otherwise all in one reply."""


@dataclass(frozen=True, slots=True)
class StartCall:
    """Pass it to the model now."""

    call: Call


@dataclass(frozen=True, slots=True)
class EndCall:
    """End it before its next piece; the model thread still reports its end."""

    key: Key


Effect = StartCall | EndCall | Answer


@dataclass(slots=True)
class Generations:
    """All such requests in a worker."""

    limit: int
    """Generations at once."""
    queue_limit: int
    """Maximum of waiting ones; more are refused as overloaded."""
    _waiting: OrderedDict[Key, Call] = field(default_factory=OrderedDict)
    _running: set[Key] = field(default_factory=set)
    _ending: set[Key] = field(default_factory=set)
    """Running ones that were cancelled."""
    _is_draining: bool = False

    @property
    def queued(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Requests that the model answers."""
        return len(self._running)

    def arrived(self, call: Call, now_s: float) -> list[Effect]:
        """A new request."""
        if call.key in self._waiting or call.key in self._running:
            return []  # a repeat: the first one will be answered
        if self._is_draining:
            return [Answer(call.key, Failed("draining"))]
        if len(self._waiting) >= self.queue_limit:
            return [Answer(call.key, Failed("overloaded", "the worker's queue is full"))]
        self._waiting[call.key] = call
        return self.pump(now_s)

    def pump(self, now_s: float) -> list[Effect]:
        """Start what may run now; what waited too long is not started."""
        effects: list[Effect] = []
        for call in [c for c in self._waiting.values() if c.deadline_s <= now_s]:
            del self._waiting[call.key]
            effects.append(Answer(call.key, Failed("expired")))
        while self._waiting and len(self._running) < self.limit:
            key, call = self._waiting.popitem(last=False)
            self._running.add(key)
            effects.append(StartCall(call))
        return effects

    def ended(self, key: Key, outcome: Outcome, now_s: float) -> list[Effect]:
        """The model is done with it."""
        if key not in self._running:
            return []  # returned in the meantime
        if key in self._ending:
            outcome = Failed("cancelled")
        self._running.discard(key)
        self._ending.discard(key)
        return [Answer(key, outcome), *self.pump(now_s)]

    def cancelled(self, key: Key) -> list[Effect]:
        """It is no longer needed."""
        if self._waiting.pop(key, None) is not None:
            return [Answer(key, Failed("cancelled"))]
        if key not in self._running or key in self._ending:
            return []
        self._ending.add(key)
        return [EndCall(key)]

    def gateway_lost(self, gateway: int) -> list[Effect]:
        """None of its requests are needed."""
        keys = [key for key in (*self._waiting, *self._running) if key.gateway == gateway]
        return [effect for key in keys for effect in self.cancelled(key)]

    def drain(self) -> None:
        """Finish the present requests, accept no new ones."""
        self._is_draining = True

    def hand_back(self) -> list[Effect]:
        """Return all, so that another worker can serve those that have not begun."""
        self._is_draining = True
        keys = [*self._running, *self._waiting]
        self._running.clear()
        self._waiting.clear()
        self._ending.clear()
        return [Answer(key, Failed("draining")) for key in keys]
