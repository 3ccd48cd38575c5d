"""Roll-ups of an outage: usage that no answered beat carried is written to the spool.

Increments since the last answered beat are retained. Once the silence is an outage they are folded
into one-minute records for the spool, and the rest when the scheduler answers again. So every
second is in an answered beat or in a roll-up, except for the few seconds of an ordinary delay.
"""

from dataclasses import dataclass, field
from itertools import zip_longest

from wattline_protocol.ids import UnixTime
from wattline_protocol.wire.agent_messages import Rollup

OUTAGE_AFTER_S = 5.0
"""Shorter silences are delays; the energy counters in the next beat cover them."""
MINUTE_S = 60.0
MAX_INCREMENTS = 1000
"""A minute at the fastest sampling (10 Hz), with a margin."""


@dataclass(frozen=True, slots=True)
class Increment:
    """Usage of one sampling step."""

    at_s: float
    unix_s: UnixTime
    seconds: float
    node_energy_mj: int
    gpu_energy_mj: tuple[int, ...]
    node_mw: int
    cap_bound_gpu_ms: int


@dataclass(slots=True)
class Outage:
    """Increments that no answered beat has carried."""

    increments: list[Increment] = field(default_factory=list)
    is_on: bool = False

    def add(self, increment: Increment, heard_s: float) -> Rollup | None:
        """Add an increment; returns a minute's roll-up when one is full."""
        self.increments.append(increment)
        self.is_on = self.is_on or increment.at_s - heard_s > OUTAGE_AFTER_S
        if not self.is_on:
            self.increments = [i for i in self.increments if i.at_s > heard_s]
            return None
        total_s = sum(i.seconds for i in self.increments)
        if total_s >= MINUTE_S or len(self.increments) >= MAX_INCREMENTS:
            return self._fold()
        return None

    def end(self) -> Rollup | None:
        """The scheduler answers again: returns the rest of the outage."""
        was_on, self.is_on = self.is_on, False
        if was_on and self.increments:
            return self._fold()
        return None

    def _fold(self) -> Rollup:
        parts, self.increments = self.increments, []
        return Rollup(
            start_unix_s=UnixTime(parts[0].unix_s - parts[0].seconds),
            seconds=sum(p.seconds for p in parts),
            node_energy_mj=sum(p.node_energy_mj for p in parts),
            gpu_energy_mj=tuple(
                sum(column)
                for column in zip_longest(*(p.gpu_energy_mj for p in parts), fillvalue=0)
            ),
            node_peak_mw=max(p.node_mw for p in parts),
            cap_bound_gpu_ms=sum(p.cap_bound_gpu_ms for p in parts),
        )
