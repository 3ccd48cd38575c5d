"""Who may have room looked for in a cycle, where that is in vain for many.

To find the nodes that a gang could have soonest takes a walk over all of them. Gangs that can be
kept no room, since nobody knows when it would be free, must not take that walk from those behind
them, so what was in vain is remembered, and the next cycle goes on behind it, until all have had
their turn. Who is kept room has a turn in every cycle: it is not given up for a look at others.

The same holds for all that a cycle does where it stops early: the next one would stop at the same
place. So who was passed over is remembered as well, and for whom that was only tells the reason
again, until a cycle has come to the end of the queue.
"""

from collections.abc import Hashable, Mapping

MAX_EFFORT = 12_000
"""Steps of looking in vain in one cycle: eight walks over 12,500 nodes, sixty over 1,000. Where
they suffice for all, nothing is remembered from one cycle to the next."""

MAX_VAIN = 4_096
"""What is remembered as in vain; beyond it the turns begin anew."""

MAX_PASSED = 100_000
"""What is remembered as passed over; the same."""


class Turns:
    """Kept from cycle to cycle. `what` is what is asked, the same for all that ask alike."""

    def __init__(self) -> None:
        self._kept = set[Hashable]()
        """Who was kept room in the last cycle."""
        self._found = set[Hashable]()
        """Who is in this one."""
        self._vain = set[tuple[Hashable, bool]]()
        """What was looked for in vain since the turns began, and whether a date was needed."""
        self._passed = dict[Hashable, str]()
        """Who was passed over by the cycles since the last that came to the end, and why."""
        self._effort = 0
        self._is_put_off = False

    def begin(self) -> None:
        """A cycle."""
        self._found, self._effort, self._is_put_off = set(), 0, False

    def has(self, what: Hashable, *, is_dated: bool) -> bool:
        """Whether it may be looked for. `is_dated`: room is of use only if its time is known."""
        if (what, False) in self._vain or (what, is_dated) in self._vain:
            return False
        if what in self._kept or self._effort < MAX_EFFORT:
            return True
        self._is_put_off = True
        return False

    def found(self, what: Hashable) -> None:
        """Room is kept for it."""
        self._found.add(what)

    def in_vain(self, what: Hashable, effort: int, *, is_dated: bool) -> None:
        """There is none, nor will there be in this cycle, in which nodes are only taken."""
        self._effort += effort
        self._vain.add((what, is_dated))

    def passed(self, what: Hashable, asked: Hashable) -> str:
        """Why it waits, if this cycle goes on behind it; empty = it is looked at in full."""
        return "" if asked in self._kept else self._passed.get(what, "")

    def end(self, passed: Mapping[Hashable, str] | None) -> None:
        """The cycle is over. `passed`: who was passed over, and why, if it stopped early; None = it
        came to the end of the queue."""
        if passed is not None and len(self._passed) <= MAX_PASSED:
            self._passed.update(passed)
        else:
            self._passed = {}
        self._kept = self._found
        if not self._is_put_off or len(self._vain) > MAX_VAIN:
            self._vain.clear()
