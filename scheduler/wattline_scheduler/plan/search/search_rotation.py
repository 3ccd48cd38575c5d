"""Rotates which blocked jobs get a reservation search, if many searches fail.

Finding the earliest nodes for a gang requires a walk over all nodes. Gangs that cannot get a
backfill reservation, since its time is unknown, must not use up the walks of those behind them. So
failed searches are remembered, and the next cycle continues behind them, until all have had their
turn. A gang with a reservation has a turn in every cycle: it is not dropped for other searches.

The same applies to all work of a cycle that stops early: the next one would stop at the same place.
So passed-over gangs are remembered as well, and only report their reason again, until a cycle has
reached the end of the queue.
"""

from collections.abc import Hashable, Mapping

MAX_EFFORT = 12_000
"""Steps of failed searches in one cycle: eight walks over 12,500 nodes, sixty over 1,000. If they
suffice for all, nothing is remembered for the next cycle."""

MAX_VAIN = 4_096
"""Remembered failed searches; beyond it the rotation restarts."""

MAX_PASSED = 100_000
"""Remembered passed-over gangs; beyond it the rotation restarts."""


class Turns:
    """State across cycles. `what` is the request, the same for all equal requests."""

    def __init__(self) -> None:
        self._kept = set[Hashable]()
        """Requests with a reservation in the last cycle."""
        self._found = set[Hashable]()
        """Requests with a reservation in this cycle."""
        self._vain = set[tuple[Hashable, bool]]()
        """Failed searches of this rotation, and whether a date was required."""
        self._passed = dict[Hashable, str]()
        """Requests passed over since a cycle last reached the end of the queue, and why."""
        self._effort = 0
        self._is_put_off = False

    def begin(self) -> None:
        """Begin a cycle."""
        self._found, self._effort, self._is_put_off = set(), 0, False

    def has(self, what: Hashable, *, is_dated: bool) -> bool:
        """Whether a search is permitted. `is_dated`: only a reservation with a known time helps."""
        if (what, False) in self._vain or (what, is_dated) in self._vain:
            return False
        if what in self._kept or self._effort < MAX_EFFORT:
            return True
        self._is_put_off = True
        return False

    def found(self, what: Hashable) -> None:
        """Record a successful search."""
        self._found.add(what)

    def in_vain(self, what: Hashable, effort: int, *, is_dated: bool) -> None:
        """Record a failed search: it cannot succeed in this cycle, which only allocates nodes."""
        self._effort += effort
        self._vain.add((what, is_dated))

    def passed(self, what: Hashable, asked: Hashable) -> str:
        """The reason to repeat if this cycle skips it; empty = evaluate it in full."""
        return "" if asked in self._kept else self._passed.get(what, "")

    def end(self, passed: Mapping[Hashable, str] | None) -> None:
        """End the cycle. `passed`: passed-over requests and reasons, if it stopped early; None = it
        reached the end of the queue."""
        if passed is not None and len(self._passed) <= MAX_PASSED:
            self._passed.update(passed)
        else:
            self._passed = {}
        self._kept = self._found
        if not self._is_put_off or len(self._vain) > MAX_VAIN:
            self._vain.clear()
