"""Revisions of a service: their shares of the requests, their traffic, and copies for comparison.

While a revision is on trial, its workers are no part of the service's pool: they get a share of the
requests as these arrive, or copies. What they fail at is sent to the pool.
"""

from bisect import bisect_left
from dataclasses import dataclass, field, replace
from math import isclose
from typing import Any

import msgspec

from wattline_protocol.wire.rollouts import BUCKETS_S, RouteSplit, tolerance_of

WHOLE_PERMILLE = 1_000
MAX_COMPARED_BYTES = 64 * 1024
"""Larger answers are compared byte by byte: decoding them would hold up other requests."""


@dataclass(slots=True)
class Traffic:
    """Requests of one revision, since the gateway knows it."""

    requests: int = 0
    errors: int = 0
    """Without the output that the pool gave, or could have given."""
    times: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    """Answers by time at the worker, in `BUCKETS_S`."""
    equal: int = 0
    different: int = 0

    def answered(self, took_s: float) -> None:
        """An output."""
        self.requests += 1
        self.times[bisect_left(BUCKETS_S, took_s)] += 1

    def failed(self, *, is_error: bool = True) -> None:
        """No output; `is_error`: though there could have been one."""
        self.requests += 1
        self.errors += is_error

    def copy(self) -> "Traffic":
        """The counts as they are now."""
        return replace(self, times=[*self.times])

    def since(self, before: "Traffic") -> "Traffic":
        """What was counted after `before`."""
        return Traffic(
            self.requests - before.requests,
            self.errors - before.errors,
            [now - then for now, then in zip(self.times, before.times, strict=True)],
            self.equal - before.equal,
            self.different - before.different,
        )


@dataclass(slots=True)
class Share:
    """Selects a share of the requests, evenly spread; a turn that cannot be used is lost."""

    _credit: int = 0

    def is_next(self, permille: int) -> bool:
        """Whether this request belongs to the share."""
        self._credit += permille
        if self._credit < WHOLE_PERMILLE:
            return False
        self._credit -= WHOLE_PERMILLE
        return True


@dataclass(slots=True)
class Trial:
    """Of one service: the revision on trial, and how much it gets."""

    split: RouteSplit | None = None
    requests: Share = field(default_factory=Share)
    copies: Share = field(default_factory=Share)
    tolerance: float = 0.0

    def change(self, split: RouteSplit | None) -> None:
        """Another split is in force."""
        if split != self.split:
            self.split, self.requests, self.copies = split, Share(), Share()
            self.tolerance = 0.0 if split is None else tolerance_of(split.compare)

    @property
    def revision(self) -> int:
        """The revision on trial; 0 = none."""
        return 0 if self.split is None else self.split.revision

    @property
    def is_guarded(self) -> bool:
        """Whether the pool answers what the revision on trial fails at."""
        return self.split is not None and self.split.is_guarded

    def takes_request(self) -> bool:
        """Whether the revision on trial gets the next request."""
        return self.split is not None and self.requests.is_next(self.split.share_permille)

    def takes_copy(self) -> bool:
        """Whether it gets a copy of it."""
        return self.split is not None and self.copies.is_next(self.split.shadow_permille)


@dataclass(slots=True)
class Copy:
    """A request that a worker of the revision on trial has as well, to compare the answers."""

    traffic: Traffic
    worker: bytes
    """Its connection."""
    sent_s: float
    tolerance: float
    expected: bytes | None = None
    """The output that the client got."""
    given: bytes | None = None
    has_failed: bool = False


@dataclass(slots=True)
class Copies:
    """Copies whose answers were not compared yet, by the number of the request.

    A worker gets a copy under the negative number. The slots of workers limit their number, but for
    those that were answered before the request was.
    """

    by_request: dict[int, Copy] = field(default_factory=dict)

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

    def _compare(self, request_id: int, copy: Copy) -> None:
        if copy.expected is None or (copy.given is None and not copy.has_failed):
            return
        del self.by_request[request_id]
        if copy.given is None:
            copy.traffic.failed()
        elif alike(copy.expected, copy.given, copy.tolerance):
            copy.traffic.equal += 1
        else:
            copy.traffic.different += 1


def alike(one: bytes, other: bytes, tolerance: float) -> bool:
    """Whether two JSON texts say the same, but for numbers within the relative tolerance."""
    if one == other:
        return True
    if max(len(one), len(other)) > MAX_COMPARED_BYTES:
        return False
    try:
        return _alike(msgspec.json.decode(one), msgspec.json.decode(other), tolerance)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        return False  # the last one: integers beyond what a float holds


def _alike(one: Any, other: Any, tolerance: float) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other or isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)
    if isinstance(one, dict) and isinstance(other, dict):
        same = one.keys() == other.keys()
        return same and all(_alike(value, other[key], tolerance) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(_alike(a, b, tolerance) for a, b in pairs)
    return bool(one == other)
