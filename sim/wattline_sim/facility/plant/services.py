"""Inference replicas: requests arrive, prefill queues, decode holds sequences.

Arrivals are a Poisson process whose rate follows the hour and a slower burst factor. Queued
prefill is worked off at the replica's pace; a finished prefill becomes a decoding sequence that
leaves after a mean time. A slower replica so holds more sequences for longer, as real ones do.
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


class _Board(Protocol):
    """Where services write what they ask for; `Jobs`."""

    level: Floats
    phase: Indexes


class Services:
    """Those rows of the jobs that are services."""

    def __init__(self, rows: int) -> None:
        self.backlog_s: Floats = np.zeros(rows)
        self.sequences: Floats = np.zeros(rows)
        self._model: list[Service | None] = [None] * rows
        self._live: Indexes = np.zeros(0, dtype=np.int64)
        self._key: Keys = np.zeros(rows, dtype=np.uint64)
        self._choices: Keys = np.zeros(rows, dtype=np.uint64)
        self._next_s: Floats = np.full(rows, np.inf)
        self._rate: Floats = np.zeros(rows)
        self._columns: Floats = np.zeros((rows, 8))
        self._curves: Floats = np.zeros((rows, 2, 6))
        self._burst_at_s = -np.inf

    def start(self, row: int, service: Service, gpus: int, key: np.uint64, now_s: float) -> None:
        """A replica over `gpus` GPUs starts empty."""
        self._model[row] = service
        self.backlog_s[row] = self.sequences[row] = 0.0
        self._key[row], self._choices[row] = key, 0
        self._columns[row] = (
            service.requests_per_s * gpus * _share_of_traffic(key, service.load_spread),
            service.prefill_s / gpus,
            service.prefill_spread,
            service.decode_s,
            service.prefill_level,
            service.daily,
            service.peak_hour,
            service.burst,
        )
        x, y = np.array(service.decode_levels).T
        self._curves[row, 0] = np.interp(np.linspace(0, 1, 6), np.linspace(0, 1, len(x)), x) * gpus
        self._curves[row, 1] = np.interp(np.linspace(0, 1, 6), np.linspace(0, 1, len(y)), y)
        self._live = np.flatnonzero([model is not None for model in self._model])
        self._refresh_rates(np.array([row]), now_s)
        self._next_s[row] = now_s + self._gap_s(np.array([row]))[0]

    def stop(self, rows: Indexes) -> None:
        """Those replicas are gone; requests in them are lost to this model."""
        for row in rows.tolist():
            self._model[row] = None
        self._next_s[rows] = np.inf
        self.backlog_s[rows] = self.sequences[rows] = 0.0
        self._live = np.flatnonzero([model is not None for model in self._model])

    def step(self, dt_s: float, now_s: float, pace: Floats, board: _Board) -> None:
        """Advance all replicas; writes level and phase of their rows."""
        live = self._live
        if not live.size:
            return
        if now_s - self._burst_at_s >= _BURST_EVERY_S:
            self._burst_at_s = now_s
            self._refresh_rates(live, now_s)
        self._arrive(live, now_s)
        columns = self._columns[live]
        work_s = pace[live] * dt_s
        done_s = np.minimum(self.backlog_s[live], work_s)
        self.backlog_s[live] -= done_s
        share = np.divide(done_s, work_s, out=np.zeros_like(done_s), where=work_s > 0.0)
        finished = work_s * (1.0 - share) / columns[:, 3]
        held = self.sequences[live] * (1.0 - np.minimum(finished, 1.0)) + done_s / columns[:, 1]
        self.sequences[live] = held
        decoding = self._decode_level(live, held)
        board.level[live] = share * columns[:, 4] + (1.0 - share) * decoding
        board.phase[live] = np.where(share > 0.5, PHASES.index("prefill"), PHASES.index("decode"))

    def _decode_level(self, live: Indexes, held: Floats) -> Floats:
        """Linear between the six points of each replica's curve."""
        x, y = self._curves[live, 0], self._curves[live, 1]
        at = np.clip((x <= held[:, None]).sum(axis=1) - 1, 0, x.shape[1] - 2)
        rows = np.arange(len(live))
        x0, x1, y0, y1 = x[rows, at], x[rows, at + 1], y[rows, at], y[rows, at + 1]
        share = np.clip((held - x0) / np.maximum(x1 - x0, 1e-9), 0.0, 1.0)
        level: Floats = y0 + (y1 - y0) * share
        return level

    def _arrive(self, live: Indexes, now_s: float) -> None:
        for _ in range(_ARRIVALS_MAX):
            due = live[self._next_s[live] <= now_s]
            if not due.size:
                return
            columns = self._columns[due]
            z = np.clip(dice.normal(self._key[due], self._choices[due]), -3.0, 3.0)
            spread = columns[:, 2]
            work_s = columns[:, 1] * np.exp(spread * z - spread * spread / 2)
            self.backlog_s[due] = np.minimum(self.backlog_s[due] + work_s, _BACKLOG_MAX_S)
            self._next_s[due] += self._gap_s(due)

    def _gap_s(self, rows: Indexes) -> Floats:
        throw = dice.uniform(self._key[rows], self._choices[rows] + np.uint64(1 << 33))
        self._choices[rows] += np.uint64(1)
        gap: Floats = -np.log1p(-throw) / self._rate[rows]
        return gap

    def _refresh_rates(self, rows: Indexes, now_s: float) -> None:
        mean, _, _, _, _, daily, peak_hour, burst = self._columns[rows].T
        angle = 2.0 * np.pi * (now_s / _DAY_S - peak_hour / 24.0)
        minute = np.full(len(rows), int(now_s / _BURST_EVERY_S) + (1 << 34), dtype=np.uint64)
        z = np.clip(dice.normal(self._key[rows], minute), -3.0, 3.0)
        swing = np.exp(burst * z - burst * burst / 2)
        self._rate[rows] = np.maximum(mean * (1.0 + daily * np.cos(angle)) * swing, 1e-6)


def _share_of_traffic(key: np.uint64, spread: float) -> float:
    """A replica's factor on the mean rate, of mean 1."""
    keys, salt = np.array([key]), np.array([1 << 35], np.uint64)
    z = float(np.clip(dice.normal(keys, salt)[0], -3.0, 3.0))
    return float(np.exp(spread * z - spread * spread / 2))
