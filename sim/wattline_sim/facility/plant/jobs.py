"""All running workloads at once: which state each is in and what level it asks for.

A gang has one row, as a rule that of its first GPU's index; one more row, the last, is that of GPUs
without a process. Every random choice is a function of (job's seed, how many choices
it has made), hence the same on whatever GPUs and under whatever policy it runs.
"""

import math
from collections.abc import Hashable, Sequence
from typing import Protocol

import numpy as np

from wattline_sim.facility.plant import dice
from wattline_sim.facility.plant.dice import Flags, Floats, Indexes
from wattline_sim.facility.plant.services import Services
from wattline_sim.facility.plant.workload import PHASES, Workload

_LEVEL_SALT, _IMBALANCE_SALT, _PERIOD_SALT = 1 << 40, 1 << 41, 1 << 42
_IMBALANCE = 0.02
"""One sigma of how unevenly a job loads its GPUs."""
_PERIOD_SPREAD = 0.25
"""Log-normal shape of a job's period around its kind's, so that jobs do not swing in step."""


class RowDriver(Protocol):
    """Decides what some rows ask for, from outside the plant."""

    def step(self, dt_s: float, now_s: float, pace: Floats, board: "Jobs") -> None:
        """Advance; may write level and phase of its rows."""


class _States:
    """The states of every workload seen so far, as columns; grows when a new one is loaded."""

    def __init__(self) -> None:
        self._first: dict[Workload, int] = {}
        self.columns: Floats = np.zeros((0, 8))
        self.phase: Indexes = np.zeros(0, dtype=np.int64)
        self.follow: Floats = np.zeros((0, 0))
        """Cumulative weights, row: state, column: state that follows."""

    def first(self, workload: Workload) -> int:
        """The row of the workload's first state."""
        if workload not in self._first:
            self._first[workload] = len(self.columns)
            self._append(workload)
        return self._first[workload]

    def _append(self, workload: Workload) -> None:
        start, names = len(self.columns), [state.name for state in workload.states]
        rows = [
            (s.high, s.low, 1 / s.period_s, s.busy_share, s.mean_s, s.spread, s.align_s)
            for s in workload.states
        ]
        percent = [[s.gpu_percent] for s in workload.states]
        self.columns = np.vstack([self.columns, np.hstack([np.array(rows), np.array(percent)])])
        phases = [PHASES.index(s.phase) for s in workload.states]
        self.phase = np.concatenate([self.phase, np.array(phases, dtype=np.int64)])
        follow = np.zeros((len(self.columns), len(self.columns)))
        follow[:start, :start] = self.follow
        if start:
            follow[:start, start:] = 1.0
        for row, state in enumerate(workload.states):
            for name, weight in state.following:
                follow[start + row, start + names.index(name) :] += weight
        totals = follow[start:, -1:]
        follow[start:] /= np.where(totals > 0.0, totals, 1.0)
        self.follow = follow


class Jobs:
    """The running jobs of `gpus` GPUs. After `step`, `level` holds what each row asks for."""

    def __init__(self, gpus: int) -> None:
        self._states = _States()
        self._none = gpus
        rows = gpus + 1
        self.row_of: Indexes = np.full(gpus, gpus, dtype=np.int64)
        self.imbalance: Floats = np.ones(gpus)
        self.level: Floats = np.zeros(rows)
        self.phase: Indexes = np.full(rows, PHASES.index("slack"), dtype=np.int64)
        self.gpu_percent: Floats = np.zeros(rows)
        self.clock_s: Floats = np.zeros(rows)
        self._pace: Floats = np.zeros(rows)
        self._key = np.zeros(rows, dtype=np.uint64)
        self._choices = np.zeros(rows, dtype=np.uint64)
        self._state: Indexes = np.zeros(rows, dtype=np.int64)
        self._factor: Floats = np.ones(rows)
        self._pace_factor: Floats = np.ones(rows)
        self._work_until: Floats = np.full(rows, np.inf)
        self._wall_until: Floats = np.full(rows, np.inf)
        self._high, self._low = np.zeros(rows), np.zeros(rows)
        self._per_s, self._busy = np.ones(rows), np.ones(rows)
        self._synchronous = np.zeros(rows, dtype=np.bool_)
        self._services = Services(rows)
        self.drivers: list[RowDriver] = []
        self._gangs: dict[Hashable, int] = {}
        self._regroup()

    def load(
        self, gpus: Indexes, workload: Workload, seed: int, now_s: float, gang: Hashable = None
    ) -> None:
        """A process of that workload now runs on `gpus`, which must be free.

        Processes that name the same gang share one row, and so one clock, however many nodes and
        calls they come from.
        """
        busy = self.row_of[gpus] != self._none
        if np.any(busy):
            raise ValueError(f"GPUs {gpus[busy].tolist()} already run a process; unload them first")
        row = self._gangs.get(gang) if gang is not None else None
        rank = 0 if row is None else int(np.count_nonzero(self.row_of == row))
        keys = dice.keys_of(seed, 2)
        if row is None:
            row = self._begin(self._free_row(int(gpus[0])), workload, keys, now_s)
            if gang is not None:
                self._gangs[gang] = row
        if workload.service is not None:
            self._services.start(row, workload.service, rank + len(gpus), keys[1], now_s)
        self.row_of[gpus] = row
        ranks = np.arange(rank, rank + len(gpus), dtype=np.uint64) + np.uint64(_IMBALANCE_SALT)
        uneven = dice.normal(np.full(len(gpus), keys[0]), ranks)
        self.imbalance[gpus] = 1.0 + _IMBALANCE * np.clip(uneven, -2.0, 2.0)
        self._regroup()

    def _free_row(self, wanted: int) -> int:
        """`wanted` if no gang uses it, else any other; there are as many rows as GPUs."""
        used = np.bincount(self.row_of, minlength=self._none + 1) > 0
        return wanted if not used[wanted] else int(np.flatnonzero(~used)[0])

    def _begin(self, row: int, workload: Workload, keys: dice.Keys, now_s: float) -> int:
        self._factor[row] = _log_normal(keys[:1], _LEVEL_SALT, workload.level_spread)
        self._pace_factor[row] = _log_normal(keys[:1], _PERIOD_SALT, _PERIOD_SPREAD)
        self._key[row], self._choices[row], self.clock_s[row] = keys[0], 0, 0.0
        self._pace[row] = 0.0
        self._state[row] = self._states.first(workload)
        self._synchronous[row] = workload.synchronous
        self._enter(np.array([row]), now_s)
        return row

    def unload(self, gpus: Indexes) -> None:
        """The processes on `gpus` are gone; those on the rest of their gangs are not."""
        rows = np.setdiff1d(self.row_of[gpus], [self._none])
        self.row_of[gpus] = self._none
        rows = rows[~np.isin(rows, self.row_of)]
        self._high[rows] = self._low[rows] = self.level[rows] = 0.0
        self.gpu_percent[rows] = 0.0
        self.phase[rows] = PHASES.index("slack")
        self._work_until[rows] = self._wall_until[rows] = np.inf
        self._services.stop(rows)
        gone = set(rows.tolist())
        self._gangs = {gang: row for gang, row in self._gangs.items() if row not in gone}
        self._regroup()

    def _regroup(self) -> None:
        """Order GPUs by gang, for sums over the members of each."""
        self._order = np.argsort(self.row_of, kind="stable")
        self._rows, self._starts = np.unique(self.row_of[self._order], return_index=True)
        self._is_loaded = self.row_of != self._none

    @property
    def is_loaded(self) -> Flags:
        """Which GPUs have a process."""
        loaded: Flags = self._is_loaded
        return loaded

    def wait_for_slowest(self, speed: Floats) -> Floats:
        """Performance per GPU once each synchronous gang waits for its slowest member; the gangs
        keep that pace in the next step."""
        self._pace[self._rows] = np.minimum.reduceat(speed[self._order], self._starts)
        rows = self.row_of
        return np.where(self._synchronous[rows], self._pace[rows], speed)

    def stand_still(self, gpus: Indexes) -> None:
        """The jobs on these GPUs make no progress until performance is worked out again."""
        self._pace[self.row_of[gpus]] = 0.0

    def step(self, dt_s: float, now_s: float) -> None:
        """Advance every job by `dt_s` at the pace of its slowest GPU in the step before."""
        self.clock_s += self._pace * dt_s
        due = np.flatnonzero((self.clock_s >= self._work_until) | (self._wall_until <= now_s))
        if due.size:
            self._advance(due, now_s)
        turn = self.clock_s * self._per_s
        turn -= np.floor(turn)
        self.level = np.where(turn < self._busy, self._high, self._low)
        self._services.step(dt_s, now_s, self._pace, self)
        for driver in self.drivers:
            driver.step(dt_s, now_s, self._pace, self)

    def replay_requests(self, minute_rates: tuple[float, ...]) -> None:
        """Services follow these rates, one a minute, over and over, in place of random bursts."""
        self._services.minute_rates = minute_rates

    def backlog_s(self) -> Floats:
        """Seconds of queued prefill work of the service on each GPU, 0 for other jobs."""
        return self._services.backlog_s[self.row_of]

    def _advance(self, due: Indexes, now_s: float) -> None:
        """Rows whose state is over go to the one that a throw chooses."""
        throw = self._throw(due)
        follow = self._states.follow[self._state[due]]
        chosen = (follow <= throw[:, None]).sum(axis=1)
        stays = follow[:, -1] <= 0.0
        self._state[due] = np.where(stays, self._state[due], chosen)
        self._enter(due, now_s)

    def _throw(self, rows: Indexes) -> Floats:
        value = dice.uniform(self._key[rows], self._choices[rows])
        self._choices[rows] += np.uint64(1)
        return value

    def _enter(self, rows: Indexes, now_s: float) -> None:
        states = self._state[rows]
        high, low, per_s, busy, mean_s, spread, align_s, percent = self._states.columns[states].T
        factor = self._factor[rows]
        self._high[rows], self._low[rows] = high * factor, low * factor
        self._per_s[rows], self._busy[rows] = per_s * self._pace_factor[rows], busy
        self.phase[rows], self.gpu_percent[rows] = self._states.phase[states], percent
        z = np.clip(dice.normal(self._key[rows], self._choices[rows] + np.uint64(1 << 32)), -3, 3)
        lasts_s = mean_s * np.exp(spread * z - spread * spread / 2)
        aligned = align_s > 0.0
        self._work_until[rows] = np.where(aligned, np.inf, self.clock_s[rows] + lasts_s)
        period = np.where(aligned, align_s, 1.0)
        next_s = (np.floor(now_s / period + 1e-9) + 1.0) * period
        self._wall_until[rows] = np.where(aligned, next_s, np.inf)


def _log_normal(keys: dice.Keys, salt: int, spread: float) -> float:
    """A factor of mean 1, at most three sigma away."""
    z = float(np.clip(dice.normal(keys, np.array([salt], np.uint64))[0], -3.0, 3.0))
    return math.exp(spread * z - spread * spread / 2)


def as_gpus(gpus: Sequence[int] | Indexes | int) -> Indexes:
    """Indexes as an array, whatever the caller has."""
    return np.atleast_1d(np.asarray(gpus, dtype=np.int64))
