"""Controls a cooling zone's budget by its inlet temperatures; pure.

A PI controller with look-ahead keeps the warm end of the inlets below the limit. It starts from the
present heat (so its first watt has effect), falls fast and rises slowly. While its output is at a
bound or at a rate limit, its integral stops in that direction (anti-windup by conditional
integration, Astrom & Hagglund, PID Controllers, 1995, 3.5). It does not fall below the floors of
running work until the inlets are far above their limit.

Leases book maximum draw, but rooms are heated by actual draw. If the site file lets a zone
`overbook`, its budget begins at the capacity of its cooling, and rises above that while inlets are
cool, at the same slow rate; losing a unit takes all of that back at once.

Gains are for an air-cooled room in which losing all cooling at full load warms the air by 1-5 °C a
minute. With a third of it lost unannounced the tests see inlets 0.0 °C above the limit at 3 °C a
minute and 30 s of lag, 1.1 °C at 5 °C a minute and 60 s; an announced loss never reaches the limit.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wattline_protocol.ids import Instant
from wattline_protocol.site.wall_power import PERMILLE

MARGIN_C = 1.0
"""Target distance of the inlets below their limit."""

LOOK_FAST_S, LOOK_SLOW_S = 15.0, 90.0
"""Two averages of the inlet; their difference, added, looks about 75 s ahead of a steady rise."""

GAIN_PERMILLE_PER_C = 200.0
INTEGRAL_PERMILLE_PER_C_S = 0.3
FALL_PERMILLE_PER_S = 20.0
RISE_PERMILLE_PER_S = 1.0
"""Rates: a zone's full budget in 50 s and in 17 minutes."""

EMERGENCY_C = 5.0
"""Distance above the limit at which floors are ignored and work is paused."""

PLAUSIBLE_C = (-10.0, 65.0)
QUANTILE_PERMILLE = 950
"""The zone's representative inlet: of up to 20 nodes the warmest, then the 95th percentile, so that
one broken sensor of many has no effect."""

BLIND_AFTER_S = 60.0
BLIND_PERMILLE = 900
"""Share of its cooling that a zone may use while its temperature is unknown."""


def is_plausible_c(inlet_c: float) -> bool:
    """Whether an inlet temperature is plausible for a machine room."""
    least, most = PLAUSIBLE_C
    return least <= inlet_c <= most


def warm_end_c(inlets_c: Sequence[float]) -> float:
    """The zone's representative inlet: the `QUANTILE_PERMILLE` quantile, by nearest rank."""
    ordered = sorted(inlets_c)
    rank = -(-len(ordered) * QUANTILE_PERMILLE // PERMILLE)
    return ordered[rank - 1]


@dataclass(slots=True)
class InletControl:
    """The controller of one zone. Shares are permille of the zone's full budget."""

    limit_c: float
    since: Instant
    base_permille: float = float(PERMILLE)
    """Present cooling capacity if the zone overbooks; else the full budget."""
    share_permille: float | None = None
    """Share in force; None: no limit by the inlets."""
    inlet_c: float | None = None
    """Newest inlet of the warm end."""
    is_blind: bool = False
    _fast_c: float = 0.0
    _slow_c: float = 0.0
    _taken_permille: float = 0.0
    """The integral: the reduction beside the proportional part."""
    _has_begun: bool = False
    _at: Instant | None = None
    _seen_at: Instant | None = None

    @property
    def is_warm(self) -> bool:
        """Whether the inlets reduce the budget below the cooling capacity."""
        return self.share_permille is not None and self.share_permille < self.base_permille

    @property
    def aim_c(self) -> float:
        """Set point of the warm end."""
        return self.limit_c - MARGIN_C

    def resume(self, share_permille: float) -> None:
        """Resume from the share of an earlier run."""
        self._start_at(share_permille)

    def lose_unit(self) -> None:
        """Withdraw at once all bookings above the remaining cooling capacity."""
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
        """The share in force from now on; None = no limit. Call about once a second.

        `inlet_c`: of the warm end, None if too few nodes report. `heat_permille`: present heat.
        `floor_permille`: minimum of running work; called only when the share falls.
        """
        passed_s = 0.0 if self._at is None else at - self._at
        self._at = at
        if inlet_c is None:
            return self._step_blind(passed_s, at)
        error_c = self._predict(inlet_c, passed_s, at) - self.aim_c
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
        """Starting share; present heat is no new heat. None: no limit by the inlets."""
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
        """Step without a known temperature: the share never rises, and later a part is reserved."""
        bound = BLIND_PERMILLE * self.base_permille / PERMILLE
        if at - (self.since if self._seen_at is None else self._seen_at) < BLIND_AFTER_S:
            return self.share_permille
        self.is_blind, self.inlet_c = True, None
        now = float(PERMILLE) if self.share_permille is None else self.share_permille
        fallen = now - RISE_PERMILLE_PER_S * passed_s
        self._start_at(now if now <= bound else max(bound, fallen))
        return self.share_permille

    def _predict(self, inlet_c: float, passed_s: float, at: Instant) -> float:
        """The predicted inlet if its present rise continues."""
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
