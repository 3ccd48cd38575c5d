"""Keeps garbage collections short, independent of the number of live objects.

Theory. CPython frees unreferenced objects at once, and scans all live objects for cycles: with
100,000 jobs in memory such a scan takes a second, in which no beat is answered (CPython's garbage
collector design, "generations"). So objects that have lived for a second are frozen: they are not
scanned again. Jobs and HTTP connections are the only objects with cycles that come and go by the
thousand, and those are cut as they leave (`Job.unlink`, `GuardedHttp.connection_lost`); other
cycles wait for the hourly sweep.
"""

import gc

from wattline_protocol.ids import Instant

SETTLE_PERIOD_S = 1.0
SWEEP_PERIOD_S = 3_600.0
YOUNG = 1
"""Generation collected before a freeze, in 0.3 ms: what died within the second is not frozen."""


class GarbageCollection:
    """Garbage collection of this process; call from one thread."""

    def __init__(self, now_s: Instant) -> None:
        self._settle_due_s: float = now_s
        self._sweep_due_s = now_s + SWEEP_PERIOD_S

    def tick(self, now_s: Instant) -> None:
        """Freezes live objects. Once an hour collects those that have died since: 0.5 µs an object,
        half a second with 100,000 jobs in memory."""
        if now_s < self._settle_due_s:
            return
        self._settle_due_s = now_s + SETTLE_PERIOD_S
        if now_s >= self._sweep_due_s:
            self._sweep_due_s = now_s + SWEEP_PERIOD_S
            gc.unfreeze()
            gc.collect()
        else:
            gc.collect(YOUNG)
        gc.freeze()
