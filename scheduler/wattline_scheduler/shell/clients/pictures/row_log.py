"""Encoded rows in the order of their last change, so that what is newer is at the end."""

from collections.abc import Hashable, Iterator
from typing import Generic, NamedTuple, TypeVar

Key = TypeVar("Key", bound=Hashable)

MAX_GONE = 10_000
"""Names kept of rows that left; a reader that missed more needs all rows."""


class Change(NamedTuple):
    """A row as it is since change `number`; None: it left."""

    number: int
    data: bytes | None


class RowLog(Generic[Key]):
    """Each row with the number of its last change: 1 is the first of all."""

    def __init__(self) -> None:
        self._rows: dict[Key, Change] = {}
        self._gone: dict[Key, None] = {}
        """Those that left, in the order in which they did."""
        self.newest = 0
        """Number of the last change."""
        self.floor = 0
        """Changes up to this one are no longer known in full."""

    def put(self, key: Key, data: bytes) -> None:
        """The row as it is now; an equal one is no change."""
        known = self._rows.get(key)
        if known is None or known.data != data:
            self._gone.pop(key, None)
            self._change(key, data)

    def drop(self, key: Key) -> None:
        """The row leaves."""
        if self._rows[key].data is not None:
            self._change(key, None)
            self._gone[key] = None
        while len(self._gone) > MAX_GONE:
            oldest = next(iter(self._gone))
            del self._gone[oldest]
            self.floor = self._rows.pop(oldest).number

    def forget(self, key: Key) -> None:
        """The row leaves without a trace: subscribers discard such rows by themselves."""
        del self._rows[key]

    def _change(self, key: Key, data: bytes | None) -> None:
        self.newest += 1
        self._rows.pop(key, None)
        self._rows[key] = Change(self.newest, data)

    def after(self, number: int) -> Iterator[tuple[Key, Change]]:
        """Changes after that one, oldest first."""
        newer = []
        for key in reversed(self._rows):
            change = self._rows[key]
            if change.number <= number:
                break
            newer.append((key, change))
        return reversed(newer)
