"""Reservations in the planner: on which nodes a gang may start, and for how long.

An operator reserves nodes for a period. While a reservation is active only a gang that names it
starts on its nodes. Before that, a gang may start there if it ends before the start; one without a
known end may, until the start is near. A node has one reservation at a time.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from wattline_protocol.text.quantities import format_clipped
from wattline_scheduler.power.topology.matrix import Bools, Floats, Ints

NEAR_S = 24 * 3600.0
"""Work without a known end does not start on a node whose reservation begins sooner. Slurm never
starts it there; a day lets services and first runs use nodes that are needed next week."""

MARGIN_S = 30.0
"""Allowance for starting and stopping: a job must end so much earlier."""

NEVER = "it can never start there"
"""For a gang in a reservation followed by another: the time left only shrinks."""

NO_RESERVATION = 0
"""Number that stands for none."""


Data = tuple[str, ...]


class Stay(NamedTuple):
    """How a gang uses nodes."""

    reservation: str = ""
    """The reservation in which it starts; empty = none."""
    runs_s: float | None = None
    """Maximum run time; None: unknown."""
    data: Data = ()
    """What each node has: versions of data sets, `digits@v3`; a free output slot."""

    @property
    def needs_s(self) -> float:
        """Minimum time between its start and that of a reservation."""
        return NEAR_S if self.runs_s is None else self.runs_s + MARGIN_S


ANY_STAY = Stay()


@dataclass(frozen=True, slots=True)
class Span:
    """One reservation: the positions of its nodes, its times, and its display text."""

    name: str
    start_unix_s: float
    end_unix_s: float
    nodes: Ints
    holder: str
    """Display text: `account vision`, `maintenance`."""
    start_text: str
    end_text: str


class Key(NamedTuple):
    """Key of stays that may start on the same nodes."""

    reservation: str
    passed: int
    """Reservations that begin too soon for them."""
    data: Data = ()


EVERYWHERE = Key("", 0)


class Reservations:
    """Per node: the active reservation and its end, and the start of the next one."""

    def __init__(self, spans: Sequence[Span], node_count: int, unix_s: float) -> None:
        self.spans = sorted(spans, key=lambda span: span.start_unix_s)
        self.unix_s = unix_s
        self._inside: Ints = np.full(node_count, NO_RESERVATION, np.int64)
        self._ends: Floats = np.full(node_count, np.inf)
        self._next: Ints = np.full(node_count, NO_RESERVATION, np.int64)
        self._begins: Floats = np.full(node_count, np.inf)
        self._number = {span.name: at for at, span in enumerate(self.spans, 1)}
        for number, span in reversed(list(enumerate(self.spans, 1))):  # the first is written last
            if span.start_unix_s <= unix_s < span.end_unix_s:
                self._inside[span.nodes] = number
                self._ends[span.nodes] = span.end_unix_s
            elif unix_s < span.start_unix_s:
                self._next[span.nodes] = number
                self._begins[span.nodes] = span.start_unix_s
        self._levels = np.unique(self._begins[np.isfinite(self._begins)])
        times = [t for span in self.spans for t in (span.start_unix_s, span.end_unix_s)]
        self._valid_from = max((t for t in times if t <= unix_s), default=-np.inf)
        self._valid_until = min((t for t in times if t > unix_s), default=np.inf)

    @property
    def names(self) -> tuple[str, ...]:
        """All names, by start time."""
        return tuple(self._number)

    def at(self, unix_s: float) -> "Reservations":
        """The same at another time at which it `is_valid_at`."""
        other = copy(self)
        other.unix_s = unix_s
        return other

    def later(self, by_s: float) -> "Reservations":
        """The state `by_s` seconds later, with starts and ends applied."""
        unix_s = self.unix_s + by_s
        if self.is_valid_at(unix_s):
            return self.at(unix_s)
        return Reservations(self.spans, len(self._inside), unix_s)

    def is_valid_at(self, unix_s: float) -> bool:
        """Whether no reservation begins or ends between its time and `unix_s`."""
        return self._valid_from <= unix_s < self._valid_until

    def key(self, stay: Stay) -> Key:
        """Stays with the same key have the same `barred`."""
        passed = np.searchsorted(self._levels, self.unix_s + stay.needs_s, side="left")
        return Key(stay.reservation, int(passed), stay.data)

    def latest_s(self, stay: Stay) -> Floats:
        """[node] seconds until its latest start there; negative = not even now."""
        latest: Floats = self._begins - stay.needs_s - self.unix_s
        if stay.reservation:
            latest = np.minimum(latest, self._ends - self.unix_s)
        latest[self.outside(stay)] = -np.inf
        return latest

    @property
    def next_s(self) -> Floats:
        """[node] seconds until another begins there; infinite: none does."""
        left: Floats = self._begins - self.unix_s
        return left

    def _wanted(self, stay: Stay) -> int:
        """The reservation that must be active on a node; an unknown name matches no node."""
        return self._number.get(stay.reservation, -1) if stay.reservation else NO_RESERVATION

    def barred(self, stay: Stay) -> Bools | None:
        """[node] where it may not start now; None: it may on all of them."""
        is_barred: Bools = self._begins < self.unix_s + stay.needs_s
        is_barred |= self.outside(stay)
        return is_barred if is_barred.any() else None

    def outside(self, stay: Stay) -> Bools:
        """[node] another reservation is active, or not the required one."""
        is_outside: Bools = self._inside != self._wanted(stay)
        return is_outside

    def openings(self, stay: Stay) -> list[tuple[float, str]]:
        """Seconds until reserved nodes become available to it, each with the event."""
        found = []
        for span in self.spans:
            is_its = span.name == stay.reservation
            at_s = (span.start_unix_s if is_its else span.end_unix_s) - self.unix_s
            if at_s > 0:
                found.append(
                    (at_s, f"after reservation {span.name} {'begins' if is_its else 'ends'}")
                )
        return sorted(found)

    def begins_s(self) -> list[float]:
        """Seconds until each next reservation of a node begins, the latest first."""
        return [begins - self.unix_s for begins in reversed(self._levels.tolist())]

    def why(self, at: int, stay: Stay) -> str:
        """Why it may not start on the node at `at`."""
        if self._inside[at] != self._wanted(stay):
            return self.why_alike(at, stay)
        begins = self._next_text(int(self._next[at]))
        never = f": {NEVER}" if stay.reservation else ""
        if stay.runs_s is None:
            return f"{begins}, and the job has no time limit{never} (--time)"
        return f"{begins}, its time limit is {format_clipped(stay.runs_s)}{never}"

    def why_alike(self, at: int, stay: Stay) -> str:
        """As `why`, valid for all stays with its key whatever their run time."""
        inside = int(self._inside[at])
        if inside == self._wanted(stay):
            begins = self._next_text(int(self._next[at]))
            never = f": {NEVER}" if stay.reservation else ""
            return f"{begins}, and it may not end by then{never} (--time)"
        if stay.reservation:
            return f"not in reservation {stay.reservation}"
        return self._active_text(inside)

    def text(self, at: int) -> str:
        """The active or next reservation of the node at `at`; empty = none."""
        inside, later = int(self._inside[at]), int(self._next[at])
        if inside != NO_RESERVATION:
            return self._active_text(inside)
        return self._next_text(later) if later != NO_RESERVATION else ""

    def _active_text(self, number: int) -> str:
        span = self.spans[number - 1]
        return f"reserved as {span.name} for {span.holder} until {span.end_text}"

    def _next_text(self, number: int) -> str:
        span = self.spans[number - 1]
        return f"reservation {span.name} for {span.holder} begins {span.start_text}"
