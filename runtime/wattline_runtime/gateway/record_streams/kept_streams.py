"""Record streams whose clients may reconnect: which are kept, and for how long. No I/O."""

from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from wattline_runtime.gateway.record_streams.window import A, Window

KEPT_S = 60.0
"""After its last connection has ended."""
MOST = 1_000
MOST_OF_KEY = 100
MOST_BYTES = 64 * 1024 * 1024
"""Of answers of all streams."""


H = TypeVar("H")
"""A connection."""


class Name(NamedTuple):
    """Identity of a stream."""

    key: str
    """SHA-256 of its API key; empty: the gateway is open."""
    service: str
    id: str


@dataclass(slots=True)
class Kept(Generic[A, H]):
    """A stream, with or without a connection."""

    window: Window[A] = field(default_factory=Window)
    holder: H | None = None
    """Its connection."""
    left_s: float = 0.0
    """When it lost the last one."""
    note: str = ""
    """Why its last connection was ended, for the next one."""


@dataclass(slots=True)
class KeptStreams(Generic[A, H]):
    """All of them; the longest without a connection are dropped first."""

    _streams: dict[Name, Kept[A, H]] = field(default_factory=dict)
    """Those that had a connection last are at the end."""

    _dropped: list[Kept[A, H]] = field(default_factory=list)

    def open(self, name: Name) -> tuple[Kept[A, H], H | None]:
        """The stream of a new connection, which is to be its holder, and the one that it
        replaces."""
        kept = self._streams.pop(name) if name in self._streams else Kept[A, H]()
        self._bound(name.key)
        self._streams[name] = kept
        return kept, kept.holder

    def close(self, name: Name, holder: H, note: str, now_s: float) -> None:
        """A connection has ended; one that was replaced changes nothing."""
        kept = self._streams.get(name)
        if kept is not None and kept.holder is holder:
            kept.holder, kept.left_s, kept.note = None, now_s, note
            self._streams[name] = self._streams.pop(name)

    def expire(self, now_s: float) -> None:
        """Forget those whose clients did not return."""
        for name, kept in list(self._streams.items()):
            if kept.holder is None and kept.left_s + KEPT_S <= now_s:
                self._drop(name)
        self._bound("")

    def _bound(self, key: str) -> None:
        idle = [name for name, kept in self._streams.items() if kept.holder is None]
        own = [name for name in idle if name.key == key] if key else []
        for name in own[: max(0, len(own) + 1 - MOST_OF_KEY)]:
            self._drop(name)
        size_bytes = sum(kept.window.size_bytes for kept in self._streams.values())
        for name in idle:
            if len(self._streams) < MOST and size_bytes <= MOST_BYTES:
                return
            if name in self._streams:
                size_bytes -= self._drop(name).window.size_bytes

    def take_dropped(self) -> list[Kept[A, H]]:
        """Streams that were dropped since the last call: what they compute is no longer needed."""
        taken, self._dropped = self._dropped, []
        return taken

    def _drop(self, name: Name) -> Kept[A, H]:
        kept = self._streams.pop(name)
        self._dropped.append(kept)
        return kept

    def __len__(self) -> int:
        return len(self._streams)
