"""Bytes per second of the fetch process and its children."""

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from wattline_runtime.data.stores.below import Below
from wattline_runtime.data.stores.interface import Store


@dataclass(slots=True)
class Pace:
    """Limits the bytes per second over all threads; 0 = no limit."""

    rate_bytes_s: float
    _free_at_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, count_bytes: int) -> None:
        """Sleep until these bytes may pass."""
        if not self.rate_bytes_s:
            return
        with self._lock:
            now_s = time.monotonic()
            self._free_at_s = max(self._free_at_s, now_s) + count_bytes / self.rate_bytes_s
            wait_s = self._free_at_s - now_s
        time.sleep(max(0.0, wait_s))


class Paced(Below):
    """A part of a store, into which bytes are written at a pace."""

    def __init__(self, store: Store, prefix: str, pace: Pace) -> None:
        super().__init__(store, prefix)
        self._pace = pace

    def write(self, key: str, chunks: Iterable[bytes]) -> None:
        """Writes an object: others see all of it or nothing."""
        super().write(key, self._passed(chunks))

    def _passed(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._pace.wait(len(chunk))
            yield chunk
