"""Power, clocks and heat of one GPU. Pure: no I/O, no clock, no global randomness; time is the
number of steps taken.

Theory of operation of a step of 50 ms:

* Draw at clock f: ``leak(T) · (idle + dynamic · g(f))``. ``dynamic`` comes from the load and the
  card's own efficiency; ``g`` rises from ~0 to 1 with f·V(f)² for the part that follows core
  clocks and saturates early for the part that follows memory traffic.
* The capping loop takes the highest 15 MHz bin whose draw fits the enforced limit, below the
  ceilings of locked clocks, heat and the power brake. If even the lowest bin is too much, clocks
  are skipped (duty cycle) so that the draw equals the limit.
* Heat: die over heat sink over inlet air, two poles; memory follows the die with its own lag.
  Software slowdown walks the ceiling down one bin a step; hardware slowdown halves the clock.

**The 1 s average never exceeds the enforced limit.** Over any 20 consecutive steps
``Σ draw ≤ Σ limit`` holds by construction: a step may draw at most ``limit + room`` where
``room = Σ (limit - draw)`` over the 19 steps before. Spikes shorter than 100 ms, as real cards
show, are allowed only into that room, and where the room is negative the step is capped below the
limit. A lower limit acts in the step that sees it, a higher one in the step after, so that watts
handed from one node to another are never drawn twice.
"""

import math
import random
from bisect import bisect_right
from dataclasses import dataclass, field
from enum import IntFlag

from wattline_sim.profiles import SM_STEP_MHZ, GpuModel, LoadProfile

STEP_MS = 50
STEP_S = STEP_MS / 1000
STEP_NS = STEP_MS * 1_000_000
WINDOW_STEPS = 1000 // STEP_MS

DEFAULT_INLET_C = 24.0
LEAK_PER_C = 0.003
LEAK_REFERENCE_C = 45.0
LEAK_MIN, LEAK_MAX = 0.93, 1.12
DIE_SHARE_OF_RTH = 0.35
DIE_TAU_S, SINK_TAU_S, MEMORY_TAU_S = 3.0, 40.0, 8.0
_SPIKE_CHANCE = 0.01  # per step
_RECOVER_EVERY_STEPS = 10
THERMAL_HYSTERESIS_C = 3.0


class Reason(IntFlag):
    """NVML's clock event bits, those that are simulated."""

    IDLE = 0x1
    LOCKED_CLOCKS = 0x2
    POWER_CAP = 0x4
    HW_SLOWDOWN = 0x8
    SW_THERMAL = 0x20
    HW_THERMAL = 0x40
    POWER_BRAKE = 0x80


@dataclass(frozen=True, slots=True)
class Load:
    """A profile that has been running since step ``since_step``; the phase of its period
    follows from it, so the GPUs of one job swing together."""

    profile: LoadProfile
    since_step: int = 0


@dataclass(frozen=True, slots=True)
class GpuInput:
    """What acts on one GPU in one step. ``locked_max_mhz`` 0: clocks are not locked."""

    limit_mw: int
    load: Load | None = None
    locked_max_mhz: int = 0
    power_brake: bool = False


@dataclass(frozen=True, slots=True)
class Traits:
    """How one card differs from the typical card of its model."""

    draw: float  # factor on the draw above idle
    rth: float  # factor on the thermal resistance

    @classmethod
    def drawn(cls, rng: random.Random) -> "Traits":
        """A card as it might come: ±4 % draw, ±10 % thermal resistance, one sigma of half that."""
        return cls(
            draw=min(1.04, max(0.96, rng.gauss(1.0, 0.02))),
            rth=min(1.10, max(0.90, rng.gauss(1.0, 0.05))),
        )


def _voltage(clock_share: float) -> float:
    """Relative core voltage: flat up to 70 % of the top clock, then rising to 1."""
    return 0.75 if clock_share <= 0.7 else 0.75 + 0.25 * (clock_share - 0.7) / 0.3


def draw_curve(model: GpuModel, profile: LoadProfile) -> tuple[float, ...]:
    """g(f) of each 15 MHz bin, lowest first: the share of the full dynamic draw at that clock."""
    curve = []
    for mhz in range(model.sm_min_mhz, model.sm_max_mhz + 1, SM_STEP_MHZ):
        share = mhz / model.sm_max_mhz
        core = share * _voltage(share) ** 2
        memory = min(1.0, share / profile.knee)
        curve.append((1.0 - profile.memory_bound) * core + profile.memory_bound * memory)
    return tuple(curve)


def lag(tau_s: float) -> float:
    """The exact share of the way to its target that a first-order lag goes in one step."""
    return 1.0 - math.exp(-STEP_S / tau_s)


_DIE_LAG, _SINK_LAG = lag(DIE_TAU_S), lag(SINK_TAU_S)
_MEMORY_LAG = lag(MEMORY_TAU_S)


@dataclass(slots=True)
class GpuState:
    """Everything measurable about one GPU after a step; what the telemetry block is filled from."""

    power_instant_mw: int = 0
    power_average_mw: int = 0
    energy_uj: int = 0
    gpu_c: float = DEFAULT_INLET_C
    memory_c: float = DEFAULT_INLET_C
    sm_mhz: int = 0
    mem_mhz: int = 0
    reasons: Reason = Reason.IDLE
    gpu_percent: int = 0
    memory_percent: int = 0
    pcie_kib_s: int = 0
    power_capped_ns: int = 0
    software_thermal_ns: int = 0
    hardware_thermal_ns: int = 0
    power_brake_ns: int = 0
    has_shut_down: bool = False


@dataclass(slots=True)
class _Window:
    """The last second of draw and limit, in integer milliwatts so that sums stay exact."""

    draws_mw: list[int]
    limits_mw: list[int]
    next_slot: int = 0
    draw_sum_mw: int = field(init=False)
    limit_sum_mw: int = field(init=False)

    def __post_init__(self) -> None:
        self.draw_sum_mw, self.limit_sum_mw = sum(self.draws_mw), sum(self.limits_mw)

    def headroom_mw(self) -> int:
        """Σ (limit - draw) over the newest 19 steps: all but the one that is replaced next."""
        slot = self.next_slot
        return (self.limit_sum_mw - self.limits_mw[slot]) - (self.draw_sum_mw - self.draws_mw[slot])

    def push(self, draw_mw: int, limit_mw: int) -> None:
        slot = self.next_slot
        self.draw_sum_mw += draw_mw - self.draws_mw[slot]
        self.limit_sum_mw += limit_mw - self.limits_mw[slot]
        self.draws_mw[slot], self.limits_mw[slot] = draw_mw, limit_mw
        self.next_slot = (slot + 1) % WINDOW_STEPS


class GpuPhysics:
    """One GPU. ``step`` advances it by 50 ms and updates ``state``."""

    def __init__(
        self,
        model: GpuModel,
        seed: int,
        inlet_c: float = DEFAULT_INLET_C,
        *,
        spike_chance: float = _SPIKE_CHANCE,
    ) -> None:
        self.model = model
        self._spike_chance = spike_chance
        self._rng = random.Random(seed)
        self.traits = Traits.drawn(self._rng)
        self._curves: dict[str, tuple[float, ...]] = {}
        self._top_bin = (model.sm_max_mhz - model.sm_min_mhz) // SM_STEP_MHZ
        self._thermal_bin = self._top_bin
        self._is_hardware_hot = False
        idle_mw = int(model.idle_w * 1000 * LEAK_MIN)
        self._sink_c = inlet_c
        self._die_rise_c = 0.0
        self._steps = 0
        self._last_spike = -WINDOW_STEPS
        default_mw = model.limit_default_w * 1000
        self._limit_mw = default_mw
        self._window = _Window([idle_mw] * WINDOW_STEPS, [default_mw] * WINDOW_STEPS)
        # An excess of at most this leaves the capping loop able to make up for it even at the
        # smallest limit, where only the idle draw remains.
        idle_ceiling_mw = int(model.idle_w * 1000 * LEAK_MAX)
        self._spike_excess_max_mw = max(0, (model.limit_min_w * 1000 - idle_ceiling_mw) // 2)
        self.state = GpuState(sm_mhz=model.sm_idle_mhz, mem_mhz=model.mem_mhz)
        self.state.gpu_c = self.state.memory_c = inlet_c
        self.state.power_instant_mw = self.state.power_average_mw = idle_mw

    def step(self, given: GpuInput, inlet_c: float) -> GpuState:
        """Advance by one step under ``given`` and return the (reused) state."""
        limit_mw = self._limit_in_force(given.limit_mw)
        dynamic_w = self._dynamic_w(given.load)
        if given.load is None or dynamic_w <= 0.0:
            draw_mw, reasons = int(self._leak() * self.model.idle_w * 1000), Reason.IDLE
            self.state.sm_mhz = self.model.sm_idle_mhz
        else:
            draw_mw, reasons = self._capped(given, given.load.profile, dynamic_w, limit_mw)
        self._window.push(draw_mw, limit_mw)
        self._count(draw_mw, reasons)
        self._warm(draw_mw, given.load, inlet_c)
        self._steps += 1
        return self.state

    def _capped(
        self, given: GpuInput, profile: LoadProfile, dynamic_w: float, limit_mw: int
    ) -> tuple[int, Reason]:
        """Choose the clock of a loaded GPU; its draw in mW and what bound it."""
        ceiling, reasons = self._ceiling(given)
        leak, idle_w, curve = self._leak(), self.model.idle_w, self._curve(profile)
        headroom_mw = self._window.headroom_mw()
        allowed_mw = limit_mw + min(0, headroom_mw)
        chosen = bisect_right(curve, (allowed_mw / 1000 / leak - idle_w) / dynamic_w) - 1
        if chosen < ceiling:
            reasons |= Reason.POWER_CAP
        chosen = max(0, min(chosen, ceiling))
        self.state.sm_mhz = self.model.sm_min_mhz + chosen * SM_STEP_MHZ
        draw_mw = min(allowed_mw, int(leak * (idle_w + dynamic_w * curve[chosen]) * 1000))
        return self._spiked(draw_mw, limit_mw, headroom_mw), reasons

    def _limit_in_force(self, seen_mw: int) -> int:
        """Lower limits act at once, higher ones in the step after."""
        in_force = min(self._limit_mw, seen_mw)
        self._limit_mw = seen_mw
        return in_force

    def _ceiling(self, given: GpuInput) -> tuple[int, Reason]:
        """The highest bin allowed by anything but power, and why."""
        ceiling, reasons = self._top_bin, Reason(0)
        if given.locked_max_mhz:
            ceiling = max(0, (given.locked_max_mhz - self.model.sm_min_mhz) // SM_STEP_MHZ)
            ceiling = min(ceiling, self._top_bin)
            reasons |= Reason.LOCKED_CLOCKS if ceiling < self._top_bin else Reason(0)
        if self._thermal_bin < ceiling:
            ceiling, reasons = self._thermal_bin, Reason.SW_THERMAL
        if self._is_hardware_hot or given.power_brake:
            half = (self.model.sm_max_mhz // 2 - self.model.sm_min_mhz) // SM_STEP_MHZ
            ceiling = min(ceiling, half)
            reasons |= Reason.HW_SLOWDOWN
            reasons |= Reason.HW_THERMAL if self._is_hardware_hot else Reason(0)
            reasons |= Reason.POWER_BRAKE if given.power_brake else Reason(0)
        return ceiling, reasons

    def _leak(self) -> float:
        factor = 1.0 + LEAK_PER_C * (self.state.gpu_c - LEAK_REFERENCE_C)
        return min(LEAK_MAX, max(LEAK_MIN, factor))

    def _dynamic_w(self, load: Load | None) -> float:
        """Draw above idle at the top clock, of this card, in this part of the load's period."""
        state = self.state
        if load is None or load.profile.high <= 0.0:
            state.gpu_percent = state.memory_percent = state.pcie_kib_s = 0
            return 0.0
        profile = load.profile
        phase = ((self._steps - load.since_step) * STEP_S) % profile.period_s
        is_busy = phase < profile.busy_share * profile.period_s
        share = profile.high if is_busy else profile.low
        state.gpu_percent = profile.gpu_percent
        state.memory_percent = profile.memory_percent
        state.pcie_kib_s = profile.pcie_mib_s * 1024
        noise = 1.0 + 0.01 * (2.0 * self._rng.random() - 1.0)
        above_idle_w = share * self.model.limit_default_w - self.model.idle_w
        return max(1.0, above_idle_w * self.traits.draw * noise)

    def _curve(self, profile: LoadProfile) -> tuple[float, ...]:
        curve = self._curves.get(profile.name)
        if curve is None:
            curve = self._curves[profile.name] = draw_curve(self.model, profile)
        return curve

    def _spiked(self, draw_mw: int, limit_mw: int, headroom_mw: int) -> int:
        """Now and then one step draws 5-18 % more, as far as the window's room allows."""
        if (
            self._rng.random() >= self._spike_chance
            or self._steps - self._last_spike < WINDOW_STEPS
        ):
            return draw_mw
        wanted_mw = int(draw_mw * (1.05 + 0.13 * self._rng.random()))
        most_mw = limit_mw + min(headroom_mw, self._spike_excess_max_mw)
        self._last_spike = self._steps
        return max(draw_mw, min(wanted_mw, most_mw))

    def _count(self, draw_mw: int, reasons: Reason) -> None:
        state = self.state
        state.reasons = reasons
        state.power_instant_mw = draw_mw
        state.power_average_mw = self._window.draw_sum_mw // WINDOW_STEPS
        state.energy_uj += draw_mw * STEP_MS
        if reasons & Reason.POWER_CAP:
            state.power_capped_ns += STEP_NS
        if reasons & Reason.SW_THERMAL:
            state.software_thermal_ns += STEP_NS
        if reasons & Reason.HW_THERMAL:
            state.hardware_thermal_ns += STEP_NS
        if reasons & Reason.POWER_BRAKE:
            state.power_brake_ns += STEP_NS

    def _warm(self, draw_mw: int, load: Load | None, inlet_c: float) -> None:
        state, draw_w = self.state, draw_mw / 1000
        rth = self.model.rth_c_per_w * self.traits.rth
        sink_target = inlet_c + draw_w * rth * (1.0 - DIE_SHARE_OF_RTH)
        self._sink_c += (sink_target - self._sink_c) * _SINK_LAG
        self._die_rise_c += (draw_w * rth * DIE_SHARE_OF_RTH - self._die_rise_c) * _DIE_LAG
        state.gpu_c = self._sink_c + self._die_rise_c
        traffic = load.profile.memory_percent / 100 if load is not None else 0.0
        memory_target = state.gpu_c + 2.0 + 9.0 * traffic
        state.memory_c += (memory_target - state.memory_c) * _MEMORY_LAG
        self._protect()

    def _protect(self) -> None:
        """Moves the thermal ceilings for the next step."""
        model, gpu_c = self.model, self.state.gpu_c
        if gpu_c >= model.gpu_max_c:
            self._thermal_bin = max(0, self._thermal_bin - 1)
        elif (
            gpu_c < model.gpu_max_c - THERMAL_HYSTERESIS_C
            and self._thermal_bin < self._top_bin
            and self._steps % _RECOVER_EVERY_STEPS == 0
        ):
            self._thermal_bin += 1
        if gpu_c >= model.slowdown_c:
            self._is_hardware_hot = True
        elif gpu_c < model.slowdown_c - THERMAL_HYSTERESIS_C:
            self._is_hardware_hot = False
        self.state.has_shut_down = self.state.has_shut_down or gpu_c >= model.shutdown_c

    def reset_counters(self) -> None:
        """What a driver reload does: counters since load start again at zero."""
        state = self.state
        state.energy_uj = state.power_capped_ns = state.power_brake_ns = 0
        state.software_thermal_ns = state.hardware_thermal_ns = 0
