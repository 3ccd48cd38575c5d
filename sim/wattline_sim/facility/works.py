"""What runs, as it really is: which gang's work loads which GPUs, and how far it has come.

A *work* is one gang: its GPUs on however many nodes advance together, as fast as the
slowest of them (synchronous training, tensor-parallel serving). Everything per GPU is an array
operation.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

WorkKey = tuple[int, int]
"""(job, gang)."""

NONE = -1
ENDLESS_S = 1e18
CHECKPOINT_S = 600.0
"""A work that has to start again goes on from its newest checkpoint, written so often."""
WINDOW_S = 60.0
MIN_ACTIVE_S = 30.0
"""Shorter parts of a window say nothing about a job."""


@dataclass(frozen=True, slots=True)
class JobWindow:
    """How one job did in one window."""

    priority: int
    slowdown: float
    """1 - performance / uncapped performance; 1 while paused."""


class Works:
    """All works that ever ran; slots of ended ones are not used again."""

    def __init__(self, gpus: int, capacity: int = 256) -> None:
        self.of_gpu: IntArray = np.full(gpus, NONE, dtype=np.int64)
        """Slot of the work on each GPU; NONE = free."""
        self._slots: dict[WorkKey, int] = {}
        self._keys: list[WorkKey] = []
        self._columns: FloatArray = np.zeros((6, capacity))
        self._name_columns()
        self._rate_s: FloatArray = np.zeros(gpus)
        """Performance integrated per GPU since the last `advance`."""
        self._since_s = 0.0

    def _name_columns(self) -> None:
        (
            self._left_s,
            self._whole_s,
            self._wanted_gpus,
            self._priority,
            self._active_s,
            self._done_s,
        ) = self._columns

    def take(
        self, key: WorkKey, gpus: Sequence[int], *, wanted: int, work_s: float, priority: int
    ) -> None:
        """A task of a gang begins on these GPUs; `wanted` GPUs make the gang whole."""
        slot = self._slots.get(key)
        if slot is None:
            slot = self._new_slot(key, wanted, work_s, priority)
        self.of_gpu[list(gpus)] = slot

    def leave(self, gpus: Iterable[int]) -> None:
        """These GPUs are free again; unfinished work goes back to its last checkpoint."""
        at = list(gpus)
        for slot in {int(s) for s in self.of_gpu[at]} - {NONE}:
            done_s = self._whole_s[slot] - self._left_s[slot]
            if self._left_s[slot] > 0.0:
                kept_s = done_s // CHECKPOINT_S * CHECKPOINT_S
                self._left_s[slot] = self._whole_s[slot] - kept_s
        self.of_gpu[at] = NONE

    def add(self, performance: FloatArray, seconds: float) -> None:
        """Each step: what every GPU did, 1 = uncapped, 0 = frozen or dark."""
        self._rate_s += performance * seconds
        self._since_s += seconds

    def advance(self) -> FloatArray:
        """Every second or so: bring works forward; returns GPU-seconds done per GPU."""
        done, seconds = self._rate_s, self._since_s
        self._rate_s, self._since_s = np.zeros_like(done), 0.0
        busy = np.flatnonzero(self.of_gpu != NONE)
        slots = self.of_gpu[busy]
        count = len(self._keys)
        slowest = np.full(count, np.inf)
        np.minimum.at(slowest, slots, done[busy])
        present = np.bincount(slots, minlength=count)
        is_on = present > 0
        is_whole = is_on & (present >= self._wanted_gpus[:count])
        gained = np.where(is_whole, np.where(is_on, slowest, 0.0), 0.0)
        self._left_s[:count] -= gained
        self._active_s[:count] += is_on * seconds
        self._done_s[:count] += gained
        effective = np.zeros_like(done)
        effective[busy] = gained[slots]
        return effective

    def priority_of_gpus(self) -> IntArray:
        """Priority of the work on each GPU; NONE where there is none."""
        priority = np.append(self._priority[: len(self._keys)], NONE)
        return np.asarray(priority[self.of_gpu], dtype=np.int64)

    def is_done(self, key: WorkKey) -> bool:
        """Its work is finished."""
        return bool(self._left_s[self._slots[key]] <= 0.0)

    def close_window(self) -> list[JobWindow]:
        """Every `WINDOW_S`: how each job did that ran for most of it."""
        count = len(self._keys)
        active, done = self._active_s[:count], self._done_s[:count]
        seen = np.flatnonzero(active >= MIN_ACTIVE_S)
        slow = np.clip(1.0 - done[seen] / active[seen], 0.0, 1.0)
        windows = [
            JobWindow(int(p), float(s)) for p, s in zip(self._priority[seen], slow, strict=True)
        ]
        active[:] = 0.0
        done[:] = 0.0
        return windows

    def _new_slot(self, key: WorkKey, wanted: int, work_s: float, priority: int) -> int:
        slot = len(self._keys)
        if slot == len(self._left_s):
            self._columns = np.concatenate([self._columns] * 2, axis=1)
            self._name_columns()
        self._keys.append(key)
        self._slots[key] = slot
        self._whole_s[slot] = self._left_s[slot] = work_s
        self._wanted_gpus[slot], self._priority[slot] = wanted, priority
        self._active_s[slot] = self._done_s[slot] = 0.0
        return slot
