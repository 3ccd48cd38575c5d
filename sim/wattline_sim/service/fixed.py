"""The baseline: equal caps, and replicas by the load over a share of what one can do at that cap.

As the bar defines it: caps at feed ÷ GPUs; ceil(load ÷ (0.7 × capacity at that cap)) replicas every
15 s, down after 5 min. What a replica can do is given, not learned.
"""

import math
from collections import deque

import numpy as np

from wattline_scheduler.power.scaling.service_load import Load
from wattline_sim.service.feed import Feed
from wattline_sim.service.stage import Bounds, Stage

EVERY_S = 15
DOWN_AFTER_S = 300
TARGET = 0.7


class Fixed:
    """Replicas follow the load up at once, and down to the highest of the last minutes."""

    name = "fixed"

    def __init__(self, feed: Feed, bounds: Bounds, capacity: float) -> None:
        self._feed, self._bounds, self._capacity = feed, bounds, capacity
        self._arrived: deque[float] = deque(maxlen=EVERY_S)
        self._wanted: deque[int] = deque(maxlen=DOWN_AFTER_S // EVERY_S)
        self._seconds = 0

    def begin(self, stage: Stage) -> None:
        """Caps, once for all."""
        nothing = np.zeros(stage.plant.layout.gpu_count, dtype=np.int64)
        stage.set_caps(self._feed.caps_w(nothing))

    def step(self, stage: Stage) -> None:
        """Nothing."""

    def rise(self, stage: Stage, more: float) -> None:
        """Nothing."""

    def second(self, stage: Stage, load: Load) -> None:
        """Replicas, every `EVERY_S`."""
        self._arrived.append(load.arrived)
        self._seconds += 1
        if self._seconds % EVERY_S:
            return
        rate = sum(self._arrived) / EVERY_S
        self._wanted.append(replicas_for(rate, self._capacity, self._bounds))
        stage.set_replicas(max(self._wanted[-1], min(stage.count, max(self._wanted))))


def replicas_for(rate: float, capacity: float, bounds: Bounds) -> int:
    """The baseline's number for a load, by the capacity of one replica."""
    return bounds.within(math.ceil(rate / (TARGET * capacity)))
