"""Rotates which blocked jobs get a reservation search, if many searches fail.

Finding the earliest nodes for a gang requires a walk over all nodes. Gangs that cannot get a
backfill reservation, since its time is unknown, must not use up the walks of those behind them. So
failed searches are remembered, and the next cycle continues behind them, until all have had their
turn. A gang with a reservation has a turn in every cycle: it is not dropped for other searches.

The same applies to all work of a cycle that stops early: the next one would stop at the same place.
So passed-over gangs are remembered as well, and only report their reason again, until a cycle has
reached the end of the queue.
"""

from collections.abc import Mapping

from wattline_scheduler.plan.model.memory import JobClass, Memory, Request

MAX_EFFORT = 12_000
"""Steps of failed searches in one cycle: eight walks over 12,500 nodes, sixty over 1,000. If they
suffice for all, nothing is remembered for the next cycle."""

MAX_FAILED = 4_096
"""Remembered failed searches; beyond it the rotation restarts."""

MAX_PASSED = 100_000
"""Remembered classes that were passed over; beyond it the rotation restarts."""


class SearchRotation:
    """The rotation in one cycle, from the memory of the cycle before."""

    def __init__(self, memory: Memory) -> None:
        self._reserved, self._passed = memory.reserved, memory.passed
        self._failed = set(memory.failed)
        self._found = set[Request]()
        self._effort = 0
        self._is_put_off = False

    def may_search(self, request: Request, *, is_dated: bool) -> bool:
        """Whether a search is permitted. `is_dated`: only a reservation with a known time helps."""
        if (request, False) in self._failed or (request, is_dated) in self._failed:
            return False
        if request in self._reserved or self._effort < MAX_EFFORT:
            return True
        self._is_put_off = True
        return False

    def found(self, request: Request) -> None:
        """Record a successful search."""
        self._found.add(request)

    def failed(self, request: Request, effort: int, *, is_dated: bool) -> None:
        """Record a failed search: it cannot succeed in this cycle, which only allocates nodes."""
        self._effort += effort
        self._failed.add((request, is_dated))

    def passed(self, job_class: JobClass) -> str:
        """The reason to repeat if this cycle skips it; empty = evaluate it in full."""
        return "" if job_class[0] in self._reserved else self._passed.get(job_class, "")

    def end(
        self, passed: Mapping[JobClass, str] | None
    ) -> tuple[frozenset[Request], frozenset[tuple[Request, bool]], Mapping[JobClass, str]]:
        """`reserved`, `failed` and `passed` of the cycle's memory.

        `passed`: classes passed over and why, if it stopped early; None = it reached the end.
        """
        known: Mapping[JobClass, str] = {}
        if passed is not None and len(self._passed) <= MAX_PASSED:
            known = {**self._passed, **passed}
        if not self._is_put_off or len(self._failed) > MAX_FAILED:
            self._failed.clear()
        return frozenset(self._found), frozenset(self._failed), known
