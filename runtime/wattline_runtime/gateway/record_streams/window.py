"""The newest answers of a record stream, for a client that reconnects. No I/O."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

A = TypeVar("A")
"""An answer that is there, or that is waited for."""

KEPT = 256
KEPT_BYTES = 4 * 1024 * 1024


class SeqReused(ValueError):
    """The number of a record that had another input."""


@dataclass(slots=True)
class _Record(Generic[A]):
    digest: bytes
    answer: A
    size_bytes: int | None = None
    """None: it is being computed."""


@dataclass(slots=True)
class Window(Generic[A]):
    """Records by number: those that are computed, and the newest that were."""

    most: int = KEPT
    most_bytes: int = KEPT_BYTES
    size_bytes: int = 0
    _records: dict[int, _Record[A]] = field(default_factory=dict)
    """The oldest first."""

    def find(self, seq: int, digest: bytes) -> A | None:
        """The answer to a record that is known; None: it is not. Raises SeqReused."""
        record = self._records.get(seq)
        if record is None:
            return None
        if record.digest != digest:
            raise SeqReused(f"record {seq} had another input before")
        return record.answer

    def begin(self, seq: int, digest: bytes, answer: A) -> None:
        """A record is computed from now on."""
        self._records[seq] = _Record(digest, answer)

    def computed(self, seq: int, size_bytes: int) -> None:
        """Its answer is there; the oldest ones beyond the limits are dropped."""
        record = self._records.get(seq)
        if record is None:
            return  # acknowledged meanwhile
        record.size_bytes = size_bytes
        self.size_bytes += size_bytes
        for old, kept in list(self._records.items()):
            if len(self._records) <= self.most and self.size_bytes <= self.most_bytes:
                return
            if kept.size_bytes is not None:
                self._drop(old)

    def forget(self, seq: int) -> None:
        """It was not computed."""
        if seq in self._records:
            self._drop(seq)

    def acknowledge(self, after: int) -> list[A]:
        """The client has read the answers up to this number. Returns those that are still waited
        for all the same: they will not be read."""
        passed = [seq for seq in self._records if seq <= after]
        waiting = [self._records[seq].answer for seq in passed if self._is_waited_for(seq)]
        for seq in passed:
            self._drop(seq)
        return waiting

    def _is_waited_for(self, seq: int) -> bool:
        return self._records[seq].size_bytes is None

    def answers(self) -> list[A]:
        """All of them."""
        return [record.answer for record in self._records.values()]

    def _drop(self, seq: int) -> None:
        self.size_bytes -= self._records.pop(seq).size_bytes or 0
