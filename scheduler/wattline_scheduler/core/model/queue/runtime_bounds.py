"""How long work runs at most: its user's limit, or less where the same kind of job ended sooner.

What is known of a kind is how long its newest runs took that completed. It is found again from the
jobs in memory after a restart.
"""

from collections import deque

RUNS_KEPT, RUNS_NEEDED = 8, 3
"""Newest runs of a kind that are remembered, and how many must be known to be relied on."""

SAFETY = 1.25
"""The next run may take so much longer than the longest of them."""

MAX_KINDS = 10_000
"""Kinds remembered; those whose last run is longest ago are dropped."""


class Longest:
    """Of each kind of job, how long its newest completed runs took."""

    def __init__(self) -> None:
        self._runs_s: dict[str, deque[float]] = {}

    def note(self, kind: str, ran_s: float) -> bool:
        """One of the kind has completed; True = only now is enough known of it."""
        runs = self._runs_s.pop(kind, None) or deque(maxlen=RUNS_KEPT)
        runs.append(ran_s)
        self._runs_s[kind] = runs
        while len(self._runs_s) > MAX_KINDS:
            del self._runs_s[next(iter(self._runs_s))]
        return len(runs) == RUNS_NEEDED

    def knows(self, kind: str) -> bool:
        """Whether enough runs of the kind have completed to rely on them."""
        return len(self._runs_s.get(kind, ())) >= RUNS_NEEDED

    def learned_s(self, kind: str) -> float | None:
        """The most that such jobs took before, and a quarter; None: too few have completed."""
        runs = self._runs_s.get(kind, ())
        return SAFETY * max(runs) if len(runs) >= RUNS_NEEDED else None

    def bound_s(self, kind: str, limit_s: float, grace_s: float) -> float | None:
        """How long a gang holds its GPUs at most; `limit_s` 0: no limit. None: nobody knows."""
        known_s = self.learned_s(kind)
        bounds = [bound_s for bound_s in (known_s, limit_s or None) if bound_s is not None]
        return min(bounds) + grace_s if bounds else None
