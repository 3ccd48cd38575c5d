"""What happened in a run, in order: faults, and the scheduler's own event log, for replays."""

from collections import deque
from typing import Literal

import msgspec

MOMENTS_KEPT = 4_000

Source = Literal["fault", "site"]


class Moment(msgspec.Struct, frozen=True):
    """One line of a story."""

    at_s: float
    """Virtual seconds since the start."""
    source: Source
    """fault: what was done to the site; site: what the scheduler wrote into its event log."""
    text: str


class Story:
    """The newest moments of one run, and how often each kind of fault struck."""

    def __init__(self) -> None:
        self._moments: deque[Moment] = deque(maxlen=MOMENTS_KEPT)
        self.faults: dict[str, int] = {}

    def fault(self, at_s: float, kind: str, detail: str = "") -> None:
        """A fault struck."""
        self.faults[kind] = self.faults.get(kind, 0) + 1
        self._moments.append(Moment(at_s, "fault", f"{kind}: {detail}" if detail else kind))

    def event(self, at_s: float, text: str) -> None:
        """A line of the event log came on disk."""
        self._moments.append(Moment(at_s, "site", text))

    def moments(self) -> tuple[Moment, ...]:
        """All of it, oldest first."""
        return tuple(self._moments)

    def newest_faults(self, count: int) -> list[Moment]:
        """The last faults before now, oldest first."""
        return [m for m in self._moments if m.source == "fault"][-count:]
