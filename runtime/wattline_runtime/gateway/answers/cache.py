"""Answers of a service that are kept, and requests in flight that share one. No I/O.

Only outputs are kept, never refusals. The least recently used ones are removed first.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

F = TypeVar("F")

ENTRY_BYTES = 256
"""Counted for an entry besides its input and its output."""


@dataclass(slots=True)
class AnswerCache(Generic[F]):
    """Outputs of one service by the exact bytes of the input."""

    ttl_s: float
    size_bytes: int
    """Of inputs and outputs together, at most."""
    held_bytes: int = 0
    hits: int = 0
    misses: int = 0
    flights: dict[bytes, F] = field(default_factory=dict)
    """Requests in flight that others with the same input may join."""
    _entries: OrderedDict[bytes, tuple[bytes, float]] = field(default_factory=OrderedDict)
    """Outputs, and until when they are fresh."""
    _revision: int = 0
    _generation: int = 0

    @property
    def generation(self) -> int:
        """Changes when the cache is emptied."""
        return self._generation

    def fresh(self, key: bytes, now_s: float) -> bytes | None:
        """The output for this input, within its time to live."""
        found = self._entries.get(key)
        if found is None or found[1] <= now_s:
            return None
        self._entries.move_to_end(key)
        return found[0]

    def any(self, key: bytes) -> bytes | None:
        """The output for this input, however old."""
        found = self._entries.get(key)
        return None if found is None else found[0]

    def keep(self, key: bytes, output: bytes, now_s: float) -> None:
        """Keep an output, unless it alone exceeds the size."""
        self._remove(key)
        cost = _cost(key, output)
        if cost > self.size_bytes:
            return
        self._entries[key] = output, now_s + self.ttl_s
        self.held_bytes += cost
        self.shrink(self.size_bytes)

    def shrink(self, most_bytes: int) -> None:
        """Remove the least recently used outputs until the rest fits."""
        while self.held_bytes > most_bytes:
            key, (output, _) = self._entries.popitem(last=False)
            self.held_bytes -= _cost(key, output)

    def change_revision(self, revision: int) -> None:
        """Outputs of a former revision are not those of this one."""
        if revision != self._revision:
            self._revision = revision
            self._generation += 1
            self._entries.clear()
            self.held_bytes = 0
            self.flights.clear()  # they are answered, but no request joins them any more

    def _remove(self, key: bytes) -> None:
        found = self._entries.pop(key, None)
        if found is not None:
            self.held_bytes -= _cost(key, found[0])


def bound_all(caches: Iterable[AnswerCache[Any]], most_bytes: int) -> None:
    """Shrink the largest caches until all together fit."""
    by_size = sorted(caches, key=lambda cache: cache.held_bytes, reverse=True)
    over = sum(cache.held_bytes for cache in by_size) - most_bytes
    for cache in by_size:
        if over <= 0:
            return
        before = cache.held_bytes
        cache.shrink(max(0, before - over))
        over -= before - cache.held_bytes


def _cost(key: bytes, output: bytes) -> int:
    return len(key) + len(output) + ENTRY_BYTES
