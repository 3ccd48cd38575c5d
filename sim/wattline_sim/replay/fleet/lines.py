"""Who waits, in which order: by submission, or as the production order says."""

from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import Protocol

from wattline_scheduler.plan.order import Place
from wattline_sim.replay.fleet.gangs import Gang
from wattline_sim.replay.jobs.learned import Learned

REFRESH_S = 300.0
"""How often the learned order is made anew; who comes meanwhile is put where it belongs."""


class Line(Protocol):
    """All gangs that wait."""

    def arrived(self, gang: Gang) -> None:
        """It waits from now on."""

    def started(self, gang: Gang) -> None:
        """It waits no more."""

    def ended(self, gang: Gang, now_s: float) -> None:
        """It ran, and has ended."""

    def ordered(self, now_s: float) -> Iterable[Gang]:
        """First served first."""


class BySubmission:
    """First come, first served."""

    def __init__(self) -> None:
        self._waiting: dict[Gang, None] = {}

    def arrived(self, gang: Gang) -> None:
        """Goes to the end."""
        self._waiting[gang] = None

    def started(self, gang: Gang) -> None:
        """Leaves."""
        del self._waiting[gang]

    def ended(self, gang: Gang, now_s: float) -> None:
        """Changes nothing."""

    def ordered(self, now_s: float) -> Iterable[Gang]:
        """As they came."""
        del now_s
        return self._waiting


class ByExpectedService:
    """`plan.order` with what `plan.runtimes` learns."""

    def __init__(self) -> None:
        self._learned = Learned(sends_back=False)
        self._running: dict[Gang, None] = {}
        self._line: list[tuple[Place, Gang]] = []
        self._places: dict[Gang, Place] = {}
        self._refresh_at_s = 0.0

    def arrived(self, gang: Gang) -> None:
        """Stands where what is known now puts it."""
        self._learned.arrived(gang.run)
        self._insert(gang)

    def _insert(self, gang: Gang) -> None:
        place = self._places[gang] = self._learned.place(gang.run)
        insort(self._line, (place, gang), key=lambda entry: entry[0])

    def started(self, gang: Gang) -> None:
        """Leaves the line."""
        place = self._places.pop(gang)
        del self._line[bisect_left(self._line, place, key=lambda entry: entry[0])]
        gang.run.is_running = True
        self._running[gang] = None

    def ended(self, gang: Gang, now_s: float) -> None:
        """Teaches how long its kind runs."""
        del self._running[gang]
        gang.run.held_s, gang.run.is_running = now_s - gang.start_s, False
        self._learned.ended(gang.run, now_s)

    def ordered(self, now_s: float) -> Iterable[Gang]:
        """Made anew from time to time."""
        if now_s >= self._refresh_at_s:
            self._refresh_at_s = now_s + REFRESH_S
            for gang in self._running:
                gang.run.held_s = now_s - gang.start_s
            self._learned.look()
            self._places = {gang: self._learned.place(gang.run) for _, gang in self._line}
            self._line = sorted(
                ((place, gang) for gang, place in self._places.items()), key=lambda entry: entry[0]
            )
        return (gang for _, gang in self._line)
