"""Which of the matches are at rest. Pure: the caller reads the files and the clock."""

from __future__ import annotations

from collections.abc import Sequence

from .found import Entry, Found

REST_S = 2.0
"""A checkpoint that has not changed for so long is complete."""


class Settling:
    """Since when each match is as it is."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[tuple[Entry, ...], float]] = {}

    def at_rest(self, found: Sequence[Found], now_s: float) -> list[Found]:
        """Those of all present matches that have not changed for `REST_S`."""
        before, self._since = self._since, {}
        for one in found:
            entries, since_s = before.get(one.path, (None, now_s))
            self._since[one.path] = (one.entries, since_s if entries == one.entries else now_s)
        return [one for one in found if now_s - self._since[one.path][1] >= REST_S]
