"""Inference replicas: requests arrive, prefill queues, decode holds sequences.

Arrivals are a Poisson process whose rate follows the hour and a slower burst factor. Queued
prefill is worked off at the replica's pace; a finished prefill becomes a decoding sequence that
leaves after a mean time. A slower replica so holds more sequences for longer, as real ones do.

Requests are thrown in blocks, a replica's gaps (in units of its mean gap) and lengths at once.
"""

from typing import Protocol

import numpy as np

from wattline_sim.facility.plant import dice
from wattline_sim.facility.plant.dice import Floats, Indexes, Keys
from wattline_sim.facility.plant.workload import PHASES, Service

_BURST_EVERY_S = 60.0
_BACKLOG_MAX_S = 60.0
"""Beyond this much queued prefill a gateway sends requests elsewhere."""
_DAY_S = 86_400.0
_ARRIVALS_MAX = 64
"""Arrivals of one replica handled in one step; the rest come in the next."""
_BLOCK = 16
_GAP_SALT, _LENGTH_SALT, _MINUTE_SALT, _TRAFFIC_SALT = 1 << 33, 1 << 34, 1 << 35, 1 << 36
_POINTS = 6
"""Points of a replica's curve of level against sequences."""
_PREFILL, _DECODE = PHASES.index("prefill"), PHASES.index("decode")


class _Board(Protocol):
    """Where services write what they ask for; `Jobs`."""

    level: Floats
    phase: Indexes


class Services:
    """Those rows of the jobs that are services; arrays are per row, `_live` ones have a replica."""

    def __init__(self, rows: int) -> None:
        self.backlog_s: Floats = np.zeros(rows)
        self.sequences: Floats = np.zeros(rows)
        self._is_live = np.zeros(rows, dtype=np.bool_)
        self._key: Keys = np.zeros(rows, dtype=np.uint64)
        self._mean_rate, self._rate = np.zeros(rows), np.ones(rows)
        self._prefill_s, self._spread = np.ones(rows), np.zeros(rows)
        self._decode_s, self._prefill_level = np.ones(rows), np.zeros(rows)
        self._daily, self._peak_hour, self._burst = np.zeros(rows), np.zeros(rows), np.zeros(rows)
        self._curve: Floats = np.zeros((2, _POINTS, rows))
        self._next_s: Floats = np.full(rows, np.inf)
        self._taken: Indexes = np.zeros(rows, dtype=np.int64)
        self._gaps: Floats = np.zeros((rows, _BLOCK))
        self._work_s: Floats = np.zeros((rows, _BLOCK))
        self._burst_at_s = -np.inf
        self.minute_rates: tuple[float, ...] = ()
        """Rate of each minute over its mean, of all replicas alike; empty: random bursts."""
        self._gather()

    def start(self, row: int, service: Service, gpus: int, key: np.uint64, now_s: float) -> None:
        """A replica over `gpus` GPUs starts empty."""
        self.backlog_s[row] = self.sequences[row] = 0.0
        self._is_live[row], self._key[row], self._taken[row] = True, key, 0
        share = _log_normal(np.array([key]), _TRAFFIC_SALT, service.load_spread)[0]
        self._mean_rate[row] = service.requests_per_s * gpus * share
        self._prefill_s[row], self._spread[row] = service.prefill_s / gpus, service.prefill_spread
        self._decode_s[row], self._prefill_level[row] = service.decode_s, service.prefill_level
        self._daily[row], self._peak_hour[row] = service.daily, service.peak_hour
        self._burst[row] = service.burst
        self._curve[:, :, row] = _resampled(service.decode_levels)
        self._curve[0, :, row] *= gpus
        self._gather()
        rows = np.array([row])
        self._refresh_rates(rows, now_s)
        self._throw_block(rows)
        self._next_s[row] = now_s + self._gaps[row, 0] / self._rate[row]

    def stop(self, rows: Indexes) -> None:
        """Those replicas are gone; requests in them are lost to this model."""
        if not self._is_live[rows].any():
            return
        self._is_live[rows] = False
        self._next_s[rows] = np.inf
        self.backlog_s[rows] = self.sequences[rows] = 0.0
        self._gather()

    def _gather(self) -> None:
        """Columns of the live replicas side by side, for the step."""
        live = np.flatnonzero(self._is_live)
        self._live = live
        self._live_prefill_s, self._live_decode_s = self._prefill_s[live], self._decode_s[live]
        self._live_prefill_level = self._prefill_level[live]
        x, y = self._curve[:, :, live]
        self._x0, self._width = x[:-1], np.diff(x, axis=0)
        self._y0, self._slope = y[0], np.diff(y, axis=0) / np.maximum(self._width, 1e-9)

    def step(self, dt_s: float, now_s: float, pace: Floats, board: _Board) -> None:
        """Advance all replicas; writes level and phase of their rows."""
        live = self._live
        if not live.size:
            return
        if now_s - self._burst_at_s >= _BURST_EVERY_S:
            self._burst_at_s = now_s
            self._refresh_rates(live, now_s)
        self._arrive(now_s)
        work_s = pace[live] * dt_s
        backlog_s = self.backlog_s[live]
        done_s = np.minimum(backlog_s, work_s)
        self.backlog_s[live] = backlog_s - done_s
        share = done_s / np.maximum(work_s, 1e-12)
        leaving = (work_s - done_s) / self._live_decode_s
        held = self.sequences[live] * (1.0 - leaving) + done_s / self._live_prefill_s
        self.sequences[live] = held
        into = np.minimum(np.maximum(held - self._x0, 0.0), self._width)
        decoding = self._y0 + (into * self._slope).sum(axis=0)
        board.level[live] = decoding + share * (self._live_prefill_level - decoding)
        board.phase[live] = np.where(share > 0.5, _PREFILL, _DECODE)

    def _arrive(self, now_s: float) -> None:
        for _ in range(_ARRIVALS_MAX):
            due = np.flatnonzero(self._next_s <= now_s)
            if not due.size:
                return
            taken = self._taken[due]
            queued_s = self.backlog_s[due] + self._work_s[due, taken % _BLOCK]
            self.backlog_s[due] = np.minimum(queued_s, _BACKLOG_MAX_S)
            taken += 1
            self._taken[due] = taken
            used_up = due[taken % _BLOCK == 0]
            if used_up.size:
                self._throw_block(used_up)
            self._next_s[due] += self._gaps[due, taken % _BLOCK] / self._rate[due]

    def _throw_block(self, rows: Indexes) -> None:
        """The next block of requests of these replicas."""
        number = self._taken[rows, None] + np.arange(_BLOCK)
        counters = number.astype(np.uint64)
        keys = np.broadcast_to(self._key[rows, None], counters.shape)
        throw = dice.uniform(keys, counters + np.uint64(_GAP_SALT))
        self._gaps[rows] = -np.log1p(-throw)
        lengths = _log_normal(keys, counters + np.uint64(_LENGTH_SALT), self._spread[rows, None])
        self._work_s[rows] = self._prefill_s[rows, None] * lengths

    def _refresh_rates(self, rows: Indexes, now_s: float) -> None:
        """The rate of this minute: hour of the day × burst."""
        angle = 2.0 * np.pi * (now_s / _DAY_S - self._peak_hour[rows] / 24.0)
        hourly = self._mean_rate[rows] * (1.0 + self._daily[rows] * np.cos(angle))
        self._rate[rows] = np.maximum(hourly * self._swing(rows, int(now_s / _BURST_EVERY_S)), 1e-6)

    def _swing(self, rows: Indexes, minute: int) -> float | Floats:
        if self.minute_rates:
            return self.minute_rates[minute % len(self.minute_rates)]
        return _log_normal(self._key[rows], _MINUTE_SALT + minute, self._burst[rows])


def _resampled(points: tuple[tuple[float, float], ...]) -> Floats:
    """(2, 6): a curve of any number of points as one of six, spread evenly over them."""
    at, of = np.linspace(0.0, 1.0, _POINTS), np.linspace(0.0, 1.0, len(points))
    return np.array([np.interp(at, of, axis) for axis in np.array(points).T])


def _log_normal(keys: Keys, salt: int | Keys, spread: float | Floats) -> Floats:
    """Factors of mean 1, at most three sigma away."""
    counters = np.broadcast_to(np.asarray(salt, np.uint64), keys.shape)
    z = np.clip(dice.normal(keys, counters), -3.0, 3.0)
    return np.asarray(np.exp(spread * z - np.square(spread) / 2))
