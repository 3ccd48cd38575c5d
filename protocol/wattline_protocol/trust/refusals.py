"""Refusals of a socket: counted by reason, the newest retained for the log."""

import threading
from collections import Counter, deque
from typing import Literal

import msgspec

RefusalReason = Literal[
    "unknown_key",
    "wrong_role",
    "bad_handshake",
    "door_failed",
    "revoked",
    "rate",
    "oversize",
    "frames",
    "chosen_identity",
    "malformed",
    "wrong_version",
    "wrong_name",
]

MAX_UNTAKEN = 100
"""Refusals retained until they are taken; more are only counted, so a flood fills no disk."""


class Refusal(msgspec.Struct, frozen=True):
    """One refused connection or message."""

    reason: RefusalReason
    peer: str
    """Member's name, or the public key, or the address, as far as known."""
    detail: str


class Refusals:
    """Counts and retains refusals. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[RefusalReason] = Counter()
        self._untaken: deque[Refusal] = deque(maxlen=MAX_UNTAKEN)

    @property
    def counts(self) -> Counter[RefusalReason]:
        """Refusals by reason since the start."""
        with self._lock:
            return Counter(self._counts)

    def add(self, reason: RefusalReason, peer: str, detail: str) -> None:
        """Count one refusal and retain it for the log."""
        with self._lock:
            self._counts[reason] += 1
            self._untaken.append(Refusal(reason, peer, detail))

    def take(self) -> list[Refusal]:
        """The refusals since the last call, at most the newest MAX_UNTAKEN."""
        with self._lock:
            taken = list(self._untaken)
            self._untaken.clear()
        return taken


class RateLimit:
    """A token bucket per sender: `per_s` messages a second, `burst` at once; or what they carry."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s = per_s
        self._burst = float(burst)
        self._buckets: dict[str, tuple[float, float]] = {}

    def allows(self, sender: str, now_s: float, count: int = 1) -> bool:
        """True: takes `count` tokens of `sender`. False: so many are not left now."""
        tokens, since_s = self._buckets.get(sender, (self._burst, now_s))
        tokens = min(self._burst, tokens + (now_s - since_s) * self._per_s)
        is_allowed = tokens >= count
        self._buckets[sender] = (tokens - count if is_allowed else tokens, now_s)
        return is_allowed

    def forget_full(self, now_s: float) -> None:
        """Drop the buckets that are full again: they are equivalent to new ones."""
        self._buckets = {
            sender: (tokens, since_s)
            for sender, (tokens, since_s) in self._buckets.items()
            if tokens + (now_s - since_s) * self._per_s < self._burst
        }

    def __len__(self) -> int:
        return len(self._buckets)
