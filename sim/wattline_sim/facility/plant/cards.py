"""Power and heat of all GPUs.

Power. A GPU draws the least of what its work asks for, what its enforced limit allows and what
its clock ceiling (heat, brake, locked clocks) leaves. A new limit acts after 5 to 20 ms of
firmware, a different time for each card; inside a step that is the mean of old and new limit.
Readings ripple at 10 Hz by a few percent, now and then by 20 %, as cards do; each second of
ripple sums to nothing, and where limits move a card draws no more than
``limit + Σ (limit - draw)`` over the nine steps before, so that **every 1 s average stays at or
below the average limit**. `overshoot` is the exception: bursts of 100 ms that nothing pays back.

Heat. Die over sink over inlet air, two poles; memory follows the die, warmer than it at idle and
alike at full draw, as published for A100 (quantiles of both matched). Software slowdown walks the
clock down while the die is at its limit and up again slowly once it is 3 °C below; hardware
slowdown halves the clock; at the shutdown temperature the card falls off the bus.
"""

import math

import numpy as np

from wattline_sim import physics
from wattline_sim.facility.plant import dice
from wattline_sim.facility.plant.dice import Flags, Floats, Indexes
from wattline_sim.profiles import GpuModel

WINDOW = 10
"""Steps in the second over which limits hold on average."""
_REACTION_S = (0.005, 0.020)
_RIPPLE_SD, _RIPPLE_MAX = 0.06, 0.15
_SPIKE_SHARE, _SPIKE = 0.010, (0.19, 0.28)
"""Share of steps with a spike, and its height above the second's mean as a share of the draw above
idle: so that P99.9 of a fleet is 18 to 22 % above TDP, as published."""
_RIPPLE_ROWS = 256
_RIPPLE_FOR_TICKS = 10 * WINDOW
_MEMORY_AT_0_C, _MEMORY_PER_C = 25.6, 0.62
_CLOCK_DOWN_PER_S, _CLOCK_UP_PER_S = 0.15, 0.015
_HALF = 0.5
_DRAW_SALT, _RTH_SALT, _IDLE_SALT, _REACT_SALT, _RIPPLE_SALT = 11, 12, 13, 14, 15


def ripple_patterns(seed: int) -> Floats:
    """(rows, 10): relative deviations of the ten steps of a second; each row sums to zero."""
    keys = dice.keys_of(seed, _RIPPLE_ROWS * WINDOW)
    zero = np.zeros(len(keys), np.uint64)
    noise = _RIPPLE_SD * dice.normal(keys, zero)
    chance = dice.uniform(keys, zero + np.uint64(7))
    height = _SPIKE[0] + (_SPIKE[1] - _SPIKE[0]) * dice.uniform(keys, zero + np.uint64(8))
    noise = np.where(chance < _SPIKE_SHARE, height, np.clip(noise, -_RIPPLE_MAX, _RIPPLE_MAX))
    rows = noise.reshape(_RIPPLE_ROWS, WINDOW)
    return np.asarray(rows - rows.mean(axis=1, keepdims=True))


class Cards:
    """All GPUs; every array is per GPU."""

    def __init__(self, model: GpuModel, count: int, seed: int, substep_s: float) -> None:
        self.model, self._dt_s = model, substep_s
        self._keys = dice.keys_of(seed, count)
        self.idle_w: Floats = model.idle_w * self._trait(_IDLE_SALT, 0.025, 0.06)
        self.draw_factor = self._trait(_DRAW_SALT, 0.02, 0.04)
        self.rth_c_per_w = model.rth_c_per_w * self._trait(_RTH_SALT, 0.05, 0.10)
        self.range_w: Floats = (model.limit_default_w - self.idle_w) * self.draw_factor
        low_s, high_s = _REACTION_S
        react = dice.uniform(self._keys, np.full(count, _REACT_SALT, np.uint64))
        self._reaction = (low_s + (high_s - low_s) * react) / substep_s
        self.driver_limit_w: Floats = np.full(count, float(model.limit_default_w))
        self.bmc_limit_w: Floats = np.full(count, float(model.limit_max_w))
        self.limit_w: Floats = self.driver_limit_w.copy()
        self._acting_limit_w = self.limit_w.copy()
        self._is_limit_new = False
        self.lock_share: Floats = np.ones(count)
        self._thermal_share: Floats = np.ones(count)
        self.is_braked: Flags = np.zeros(count, dtype=np.bool_)
        self.is_hw_hot: Flags = np.zeros(count, dtype=np.bool_)
        self.is_sw_hot: Flags = np.zeros(count, dtype=np.bool_)
        self.has_shut_down: Flags = np.zeros(count, dtype=np.bool_)
        self.is_power_capped: Flags = np.zeros(count, dtype=np.bool_)
        self.power_w: Floats = self.idle_w.copy()
        self.demand_w: Floats = self.idle_w.copy()
        self.target_w: Floats = self.idle_w.copy()
        self.energy_j: Floats = np.zeros(count)
        self.capped_s: Floats = np.zeros(count)
        self._powers: Floats = np.tile(self.idle_w, (WINDOW, 1))
        self._slack: Floats = np.tile(self.limit_w - self.idle_w, (WINDOW, 1))
        self._slack_sum: Floats = self._slack.sum(axis=0)
        self._patterns = ripple_patterns(seed)
        self._ripple: Floats = np.zeros((WINDOW, count))
        self.overshoot = 0.0
        """Share above the limit in bursts of one step a second; 0: none."""
        self._tick = 0
        self._sink_c: Floats = np.full(count, physics.DEFAULT_INLET_C)
        self._die_rise_c: Floats = np.zeros(count)
        self.temp_c: Floats = self._sink_c.copy()
        self.memory_c: Floats = self._sink_c.copy()
        self.hw_events = 0
        self.sw_events = 0
        self._lags = [
            1.0 - math.exp(-substep_s / tau)
            for tau in (physics.DIE_TAU_S, physics.SINK_TAU_S, physics.MEMORY_TAU_S)
        ]

    def _trait(self, salt: int, sigma: float, most: float) -> Floats:
        z = dice.normal(self._keys, np.full(len(self._keys), salt, np.uint64))
        return np.asarray(1.0 + np.clip(sigma * z, -most, most))

    def refresh_limits(self) -> None:
        """The enforced limit is the lower of the driver's and the BMC's."""
        self.limit_w = np.minimum(self.driver_limit_w, self.bmc_limit_w)
        self._is_limit_new = True

    def draw(self, level: Floats, alive: Floats, powered: Floats, clock_share: Floats) -> None:
        """One step of power. `level` is what work asks for (share of the range, imbalance
        included), `alive` 1 where a process runs, `powered` 1 where the node has power,
        `clock_share` the draw share that the clock ceiling of each GPU leaves."""
        leak = 1.0 + physics.LEAK_PER_C * (self.temp_c - physics.LEAK_REFERENCE_C)
        np.maximum(leak, physics.LEAK_MIN, out=leak)
        np.minimum(leak, physics.LEAK_MAX, out=leak)
        dynamic_w = level * self.range_w
        dynamic_w *= leak
        dynamic_w *= alive
        idle_w = self.idle_w * powered
        asked_w = idle_w + dynamic_w
        self.demand_w = np.minimum(asked_w, self.model.limit_max_w)
        limit_w = self._limit_now()
        self.target_w = np.minimum(idle_w + (self.demand_w - idle_w) * clock_share, limit_w)
        self.is_power_capped = asked_w * clock_share > limit_w
        self._record(self.target_w, limit_w, idle_w)

    def _limit_now(self) -> Floats:
        """The mean limit in this step, while firmware takes up a new one."""
        if not self._is_limit_new:
            return self.limit_w
        limit_w = self.limit_w + self._reaction * (self._acting_limit_w - self.limit_w)
        self._acting_limit_w = self.limit_w
        self._is_limit_new = False
        return limit_w

    def _record(self, target_w: Floats, limit_w: Floats, idle_w: Floats) -> None:
        slot = self._tick % WINDOW
        if self._tick % _RIPPLE_FOR_TICKS == 0:
            self._shuffle_ripple()
        if slot == 0:
            self._slack_sum = self._slack.sum(axis=0)
        room_w = self._slack_sum - self._slack[slot]
        drawn_w = target_w - idle_w
        drawn_w *= self._ripple[slot]
        drawn_w += target_w
        np.minimum(drawn_w, limit_w + room_w, out=drawn_w)
        np.maximum(drawn_w, idle_w, out=drawn_w)
        slack_w = limit_w - drawn_w
        self._slack[slot] = slack_w
        self._slack_sum = room_w + slack_w
        if self.overshoot > 0.0:
            self._burst(drawn_w, limit_w)
        self.power_w = drawn_w
        self._powers[slot] = drawn_w
        self.energy_j += drawn_w * self._dt_s
        self.capped_s += self.is_power_capped * self._dt_s
        self._tick += 1

    def _burst(self, drawn_w: Floats, limit_w: Floats) -> None:
        """Bound cards draw more than their limit for this step, each in its own tenth."""
        mine = (self._keys % np.uint64(WINDOW)) == self._tick % WINDOW
        bursts = mine & self.is_power_capped
        drawn_w[bursts] = limit_w[bursts] * (1.0 + self.overshoot)

    def _shuffle_ripple(self) -> None:
        """Every ten seconds each card takes up another pattern, at its own phase."""
        count = np.full(len(self._keys), _RIPPLE_SALT + 16 * (self._tick + 1), np.uint64)
        throw = dice.bits(self._keys, count)
        row = (throw % np.uint64(_RIPPLE_ROWS)).astype(np.int64)
        phase = ((throw >> np.uint64(32)) % np.uint64(WINDOW)).astype(np.int64)
        columns = (np.arange(WINDOW)[:, None] + phase[None, :]) % WINDOW
        self._ripple = self._patterns[row[None, :], columns]

    def average_w(self) -> Floats:
        """Mean draw over the last second."""
        return np.asarray(self._powers.mean(axis=0))

    def warm(self, inlet_c: Floats) -> None:
        """One step of heat."""
        die, sink, memory = self._lags
        rise_c = self.power_w * self.rth_c_per_w
        share = physics.DIE_SHARE_OF_RTH
        self._sink_c += (inlet_c + rise_c * (1.0 - share) - self._sink_c) * sink
        self._die_rise_c += (rise_c * share - self._die_rise_c) * die
        self.temp_c = self._sink_c + self._die_rise_c
        memory_c = _MEMORY_AT_0_C + _MEMORY_PER_C * self.temp_c
        self.memory_c += (memory_c - self.memory_c) * memory
        self._protect()

    def _protect(self) -> None:
        model, temp_c, share = self.model, self.temp_c, self._thermal_share
        if float(temp_c.max(initial=0.0)) < model.gpu_max_c and not self.is_sw_hot.any():
            return
        hot = temp_c >= model.gpu_max_c
        cool = temp_c < model.gpu_max_c - physics.THERMAL_HYSTERESIS_C
        share -= hot * (_CLOCK_DOWN_PER_S * self._dt_s)
        share += cool * (_CLOCK_UP_PER_S * self._dt_s)
        np.clip(share, self.model.sm_min_mhz / self.model.sm_max_mhz, 1.0, out=share)
        is_sw_hot = share < 1.0
        self.sw_events += int(np.count_nonzero(is_sw_hot & ~self.is_sw_hot))
        self.is_sw_hot = is_sw_hot
        above = temp_c >= model.slowdown_c
        self.hw_events += int(np.count_nonzero(above & ~self.is_hw_hot))
        kept = temp_c >= model.slowdown_c - physics.THERMAL_HYSTERESIS_C
        self.is_hw_hot = above | (self.is_hw_hot & kept)
        self.has_shut_down |= temp_c >= model.shutdown_c

    def clock_share(self) -> Floats | None:
        """The clock ceiling of each GPU as a share of its top clock; None: nothing holds any."""
        if not (self.is_sw_hot.any() or self.is_braked.any() or (self.lock_share < 1.0).any()):
            return None
        share = np.minimum(self._thermal_share, self.lock_share)
        return np.where(self.is_hw_hot | self.is_braked, np.minimum(share, _HALF), share)

    def reset(self, gpus: Indexes) -> None:
        """What a reboot does: driver limits and locks back to default, counters to zero."""
        self.driver_limit_w[gpus] = self.model.limit_default_w
        self.lock_share[gpus] = 1.0
        self.has_shut_down[gpus] = False
        self.energy_j[gpus] = self.capped_s[gpus] = 0.0
        self.refresh_limits()
