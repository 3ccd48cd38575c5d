"""Steps of a simulated synchronous gang, as its ranks would report them.

While the gang does some work at the pace of its slowest GPU, a GPU that could do it faster is busy
for that part of the time only, and waits for the rest.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np

from wattline.task.steps import WINDOW
from wattline_protocol.wire.task_reports.rank_steps import RankSteps
from wattline_scheduler.core.lifecycle.straggler_rule import SLOWER
from wattline_sim.facility.plant import Plant
from wattline_sim.facility.plant.dice import Floats
from wattline_sim.facility.plant.jobs import Jobs


class RankClock:
    """One rank a GPU, all of one gang on all GPUs of the plant; a driver of the plant's jobs."""

    def __init__(self, plant: Plant, step_work_s: float) -> None:
        """`step_work_s`: seconds of a step without caps."""
        self._plant, self._step_work_s = plant, step_work_s
        self.steps = 0
        self.work_s = 0.0
        """Done in all, in seconds without caps."""
        self.slow_from_step = 0
        """The first step in which one rank was a straggler by the definition; 0 = none yet."""
        self._step_s, self._busy_s = 0.0, np.zeros(plant.layout.gpu_count)
        self._newest: deque[tuple[float, Floats]] = deque(maxlen=WINDOW)

    def step(self, dt_s: float, now_s: float, pace: Floats, board: Jobs) -> None:
        """Count a step of the plant; decides nothing of what the gang asks for."""
        del now_s
        work_s = float(pace[board.row_of[0]]) * dt_s
        if work_s <= 0.0:
            return
        self.work_s += work_s
        self._step_s += dt_s
        self._busy_s += work_s / np.maximum(self._plant.own_performance, 1e-9)
        if self.work_s >= (self.steps + 1) * self._step_work_s:
            self.steps += 1
            self._newest.append((self._step_s, self._busy_s))
            if not self.slow_from_step and self._busy_s.max() >= SLOWER * np.median(self._busy_s):
                self.slow_from_step = self.steps
            self._step_s, self._busy_s = 0.0, np.zeros_like(self._busy_s)

    def of(self, gpus: Sequence[int]) -> tuple[RankSteps, ...]:
        """What the ranks on these GPUs report now."""
        if not self._newest:
            return ()
        step_s = float(np.median([whole_s for whole_s, _ in self._newest]))
        busy_s = np.median([busy_s for _, busy_s in self._newest], axis=0)
        count = len(self._newest)
        return tuple(
            RankSteps(gpu, 1 + gpu, self.steps, step_s, float(busy_s[gpu]), count) for gpu in gpus
        )
