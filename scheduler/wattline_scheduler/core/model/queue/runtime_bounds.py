"""Runtime bounds: the user's limit, or less where jobs of the same kind ended sooner.

The newest completed runs of a kind are known. After a restart they are learned again from the jobs
in memory.
"""

from collections import deque

from wattline_protocol.text.quantities import MAX_DURATION_S

RUNS_KEPT, RUNS_NEEDED = 8, 3
"""Number of newest runs stored per kind, and the number needed to rely on them."""

SAFETY = 1.25
"""Safety factor of the longest of them for the next run."""

MAX_KINDS = 10_000
"""Maximum number of kinds; those whose last run is oldest are dropped."""


class RuntimeBounds:
    """Runtimes of the newest completed runs per kind."""

    def __init__(self) -> None:
        self._runs_s: dict[str, deque[float]] = {}

    def note(self, kind: str, ran_s: float) -> bool:
        """Adds a completed run; True = only now is enough known of the kind."""
        runs = self._runs_s.pop(kind, None) or deque(maxlen=RUNS_KEPT)
        runs.append(min(ran_s, MAX_DURATION_S))  # as its agent said: later ends may have no date
        self._runs_s[kind] = runs
        while len(self._runs_s) > MAX_KINDS:
            del self._runs_s[next(iter(self._runs_s))]
        return len(runs) == RUNS_NEEDED

    def knows(self, kind: str) -> bool:
        """Whether enough runs of the kind have completed to rely on them."""
        return len(self._runs_s.get(kind, ())) >= RUNS_NEEDED

    def learned_s(self, kind: str) -> float | None:
        """The longest run of the kind plus a quarter; None: too few have completed."""
        runs = self._runs_s.get(kind, ())
        return SAFETY * max(runs) if len(runs) >= RUNS_NEEDED else None

    def bound_s(self, kind: str, limit_s: float, grace_s: float) -> float | None:
        """Maximum time a gang has its GPUs; `limit_s` 0: no limit. None = unknown."""
        known_s = self.learned_s(kind) if kind else None
        if known_s is None:
            return limit_s + grace_s if limit_s else None
        return (min(known_s, limit_s) if limit_s else known_s) + grace_s
