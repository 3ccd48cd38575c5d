"""Copies of requests at a revision on trial: their outputs, and whether they are equal."""

from collections import deque
from dataclasses import dataclass, field

from wattline_protocol.text.json_alike import alike
from wattline_runtime.gateway.revisions.trial import Traffic
from wattline_runtime.wire import MAX_ITEM_BYTES

MAX_DUE = 64
"""Pairs of outputs that wait for a model; of more than that it is not asked."""


@dataclass(slots=True)
class Copy:
    """A request that a worker of the revision on trial has as well, to compare the answers."""

    traffic: Traffic
    worker: bytes
    """Its connection."""
    sent_s: float
    tolerance: float | None
    """Relative difference of numbers that counts as none; None: the model compares."""
    expected: bytes | None = None
    """The output that the client got."""
    given: bytes | None = None
    has_failed: bool = False


@dataclass(slots=True)
class Pair:
    """Both outputs of a copy, for the model of its worker."""

    number: int
    """Of the copy, and of the comparison."""
    worker: bytes
    traffic: Traffic
    outputs: bytes
    """As the JSON list of both."""
    until_s: float | None = None
    """None: no worker was looked for yet."""
    is_late: bool = False
    """It counts as not compared, whatever the model still answers."""


@dataclass(slots=True)
class Copies:
    """Copies whose answers were not compared yet, by the number of the request.

    A worker gets a copy under the negative number, and later both outputs if its model compares.
    The slots of workers limit their number, but for those that were answered before the request
    was.
    """

    by_request: dict[int, Copy] = field(default_factory=dict)
    due: deque[Pair] = field(default_factory=deque)
    at_model: dict[int, Pair] = field(default_factory=dict)
    """By number: what workers have."""

    def sent(self, request_id: int, copy: Copy) -> None:
        """A worker got a copy."""
        self.by_request[request_id] = copy

    def answered(self, request_id: int, output: bytes | None, now_s: float) -> None:
        """The worker's answer to the copy; None = it failed."""
        copy = self.by_request.get(request_id)
        if copy is None:
            return
        copy.given, copy.has_failed = output, output is None
        if output is not None:
            copy.traffic.answered(now_s - copy.sent_s)
        self._compare(request_id, copy)

    def dropped(self, request_id: int) -> None:
        """The worker did not run it, or the request has no answer."""
        self.by_request.pop(request_id, None)

    def lost(self, worker: bytes) -> None:
        """The worker has ended."""
        for number in [n for n, pair in self.at_model.items() if pair.worker == worker]:
            self.compared(number, None)
        held = [(i, c) for i, c in self.by_request.items() if c.worker == worker]
        for request_id, copy in held:
            if copy.given is None:
                copy.has_failed = True
                self._compare(request_id, copy)

    def request_answered(self, request_id: int, output: bytes) -> None:
        """The client got this output."""
        copy = self.by_request.get(request_id)
        if copy is not None:
            copy.expected = output
            self._compare(request_id, copy)

    def compared(self, number: int, answer: bytes | None) -> None:
        """The answer of the model to a pair; None: it has none."""
        pair = self.at_model.pop(number)
        if pair.is_late:
            return
        if answer == b"true":
            pair.traffic.equal += 1
        elif answer == b"false":
            pair.traffic.different += 1
        else:
            pair.traffic.uncompared += 1

    def expire(self, now_s: float) -> None:
        """Count what models have not compared in time: they may hang."""
        for pair in self.at_model.values():
            if not pair.is_late and pair.until_s is not None and pair.until_s <= now_s:
                pair.is_late = True
                pair.traffic.uncompared += 1

    def _compare(self, request_id: int, copy: Copy) -> None:
        if copy.expected is None or (copy.given is None and not copy.has_failed):
            return
        del self.by_request[request_id]
        if copy.given is None:
            copy.traffic.failed()
        elif copy.tolerance is None and copy.expected != copy.given:
            self._put(request_id, copy, b"[%b,%b]" % (copy.expected, copy.given))
        elif alike(copy.expected, copy.given, copy.tolerance or 0.0):
            copy.traffic.equal += 1
        else:
            copy.traffic.different += 1

    def _put(self, request_id: int, copy: Copy, outputs: bytes) -> None:
        if len(self.due) < MAX_DUE and len(outputs) <= MAX_ITEM_BYTES:
            self.due.append(Pair(-request_id, copy.worker, copy.traffic, outputs))
        else:
            copy.traffic.uncompared += 1
