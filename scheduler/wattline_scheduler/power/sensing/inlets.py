"""Inlet temperatures of a cooling zone as a controller of its budget; pure.

A PI controller with a look ahead holds the warm end of the zone's inlets below their limit. It
begins from the heat that is there (so its first watt bites), falls fast and rises slowly. While its
output stands at a bound or at a pace limit, its integral does not run on in that direction
(anti-windup by conditional integration, Astrom & Hagglund, PID Controllers, 1995, 3.5). It does not
go below what running work needs at its floors until the inlets are far above their limit.

Leases book what nodes might draw, and rooms warm by what they do draw. Where the site file lets a
zone `overbook`, its budget begins at what its cooling removes, and rises above that while inlets
are cool, at the same slow pace; a unit that is lost takes all of that back at once.

Gains are for an air-cooled room in which all cooling lost at full load warms the air by 1-5 °C a
minute. With a third of it lost unannounced the tests see inlets 0.0 °C above the limit at 3 °C a
minute and 30 s of lag, 1.1 °C at 5 °C a minute and 60 s; a loss that is announced never gets there.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wattline_protocol.ids import Instant
from wattline_protocol.site.wall_power import PERMILLE

MARGIN_C = 1.0
"""Inlets are held this much below their limit."""

LOOK_FAST_S, LOOK_SLOW_S = 15.0, 90.0
"""Two averages of the inlet; their difference, added, looks about 75 s ahead of a steady rise."""

GAIN_PERMILLE_PER_C = 200.0
INTEGRAL_PERMILLE_PER_C_S = 0.3
FALL_PERMILLE_PER_S = 20.0
RISE_PERMILLE_PER_S = 1.0
"""All of a zone's budget in 50 s and 17 minutes."""

EMERGENCY_C = 5.0
"""So far above their limit, floors do not count any more: work is paused."""

PLAUSIBLE_C = (-10.0, 65.0)
QUANTILE_PERMILLE = 950
"""Which inlet stands for the zone: of up to 20 nodes the warmest, then the 95th percentile, so
that one broken sensor of many does not rule the room."""

BLIND_AFTER_S = 60.0
BLIND_PERMILLE = 900
"""Of what its cooling removes a zone may use while nobody knows how warm it is."""


def is_plausible_c(inlet_c: float) -> bool:
    """Whether air in a machine room can be that warm."""
    least, most = PLAUSIBLE_C
    return least <= inlet_c <= most


def warm_end_c(inlets_c: Sequence[float]) -> float:
    """The inlet that stands for a zone: the `QUANTILE_PERMILLE` quantile, by nearest rank."""
    ordered = sorted(inlets_c)
    rank = -(-len(ordered) * QUANTILE_PERMILLE // PERMILLE)
    return ordered[rank - 1]


@dataclass(slots=True)
class InletControl:
    """The controller of one zone. Shares are permille of the zone's full budget."""

    limit_c: float
    since: Instant
    base_permille: float = float(PERMILLE)
    """What the cooling removes at present, where the zone overbooks; else all."""
    share_permille: float | None = None
    """In force; None: the inlets limit nothing."""
    inlet_c: float | None = None
    """Newest inlet of the warm end."""
    is_blind: bool = False
    _fast_c: float = 0.0
    _slow_c: float = 0.0
    _taken_permille: float = 0.0
    """The integral: what is taken away beside the proportional part."""
    _has_begun: bool = False
    _at: Instant | None = None
    _seen_at: Instant | None = None

    @property
    def is_warm(self) -> bool:
        """The inlets take something of what the cooling could remove."""
        return self.share_permille is not None and self.share_permille < self.base_permille

    @property
    def aim_c(self) -> float:
        """Where the warm end is held."""
        return self.limit_c - MARGIN_C

    def resume(self, share_permille: float) -> None:
        """Go on from the share that an earlier run left with."""
        self._start_at(share_permille)

    def lose_unit(self) -> None:
        """What is booked above what is left of the cooling is taken back at once."""
        if self.share_permille is None or self.share_permille > self.base_permille:
            self._start_at(self.base_permille)

    def _start_at(self, share_permille: float) -> None:
        self._has_begun, self.share_permille = True, share_permille
        self._taken_permille = PERMILLE - share_permille

    def step(
        self,
        inlet_c: float | None,
        heat_permille: float,
        floor_permille: Callable[[], float],
        at: Instant,
    ) -> float | None:
        """The share in force from now on; None = no limit. To be called about once a second.

        `inlet_c`: of the warm end, None where too few nodes tell. `heat_permille`: present heat.
        `floor_permille`: what running work needs at least; only asked when the share falls.
        """
        passed_s = 0.0 if self._at is None else at - self._at
        self._at = at
        if inlet_c is None:
            return self._step_blind(passed_s, at)
        error_c = self._look_ahead(inlet_c, passed_s, at) - self.aim_c
        share = self.share_permille
        if share is None:
            share = self._begin(min(float(PERMILLE), heat_permille), error_c)
            if share is None:
                return None
            self._start_at(share)
        is_emergency = inlet_c >= self.limit_c + EMERGENCY_C
        floor = _nothing if is_emergency else floor_permille
        return self._move(share, error_c, floor, passed_s)

    def _begin(self, heat_permille: float, error_c: float) -> float | None:
        """From where to go on: heat that is there is no new heat. None: they limit nothing."""
        if error_c > 0.0:
            return heat_permille
        return None if self._has_begun else max(self.base_permille, heat_permille)

    def _move(
        self, now: float, error_c: float, floor: Callable[[], float], passed_s: float
    ) -> float | None:
        taken = self._taken_permille + INTEGRAL_PERMILLE_PER_C_S * error_c * passed_s
        wanted = PERMILLE - taken - GAIN_PERMILLE_PER_C * error_c
        low = now
        if wanted < now:
            low = max(min(floor(), now), now - FALL_PERMILLE_PER_S * passed_s)
        high = min(float(PERMILLE), now + RISE_PERMILLE_PER_S * passed_s)
        is_wound_up = (wanted < low and error_c > 0.0) or (wanted > high and error_c < 0.0)
        if not is_wound_up:
            self._taken_permille = min(float(PERMILLE), max(0.0, taken))
        share = min(max(wanted, low), high)
        self.share_permille = None if share >= PERMILLE and error_c < 0.0 else share
        return self.share_permille

    def _step_blind(self, passed_s: float, at: Instant) -> float | None:
        """Nobody knows how warm it is: nothing rises, and after a while a part is kept free."""
        bound = BLIND_PERMILLE * self.base_permille / PERMILLE
        if at - (self.since if self._seen_at is None else self._seen_at) < BLIND_AFTER_S:
            return self.share_permille
        self.is_blind, self.inlet_c = True, None
        now = float(PERMILLE) if self.share_permille is None else self.share_permille
        fallen = now - RISE_PERMILLE_PER_S * passed_s
        self._start_at(now if now <= bound else max(bound, fallen))
        return self.share_permille

    def _look_ahead(self, inlet_c: float, passed_s: float, at: Instant) -> float:
        """The inlet as it will be in a while if it goes on rising as it does."""
        if self._seen_at is None or self.is_blind:
            self._fast_c = self._slow_c = inlet_c
        self._fast_c = _approach(self._fast_c, inlet_c, passed_s / LOOK_FAST_S)
        self._slow_c = _approach(self._slow_c, inlet_c, passed_s / LOOK_SLOW_S)
        self.is_blind, self._seen_at, self.inlet_c = False, at, inlet_c
        return self._fast_c + max(0.0, self._fast_c - self._slow_c)


def _nothing() -> float:
    """The floor in an emergency."""
    return 0.0


def _approach(old: float, new: float, steps: float) -> float:
    return new + (old - new) * math.exp(-steps)
