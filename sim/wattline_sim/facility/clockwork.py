"""Where the time of a run goes: processor seconds of this process by part.

Not the clock on the wall: what other programs take says nothing about the simulator.
"""

import time


class Stopwatch:
    """Adds up processor seconds under names; parts do not nest."""

    def __init__(self) -> None:
        self.spent_s: dict[str, float] = {}
        self._began_s = time.process_time()

    @property
    def elapsed_s(self) -> float:
        """Processor seconds since it was made."""
        return time.process_time() - self._began_s

    def part(self, name: str) -> "Part":
        """Time what happens in a `with` statement."""
        return Part(self, name)

    def shares(self) -> dict[str, float]:
        """Share of the elapsed time by part; `other` is the rest."""
        whole_s = self.elapsed_s
        parts = {name: round(spent / whole_s, 3) for name, spent in self.spent_s.items()}
        return {**parts, "other": round(max(0.0, 1.0 - sum(parts.values())), 3)}


class Part:
    """A `with` statement of a stopwatch; written out, for it is entered thousands of times."""

    __slots__ = ("_began_s", "_name", "_stopwatch")

    def __init__(self, stopwatch: Stopwatch, name: str) -> None:
        self._stopwatch, self._name, self._began_s = stopwatch, name, 0.0

    def __enter__(self) -> None:
        self._began_s = time.process_time()

    def __exit__(self, *_: object) -> None:
        spent_s = self._stopwatch.spent_s
        spent_s[self._name] = spent_s.get(self._name, 0.0) + time.process_time() - self._began_s
