"""Virtual time: a heap of things to do, and one source of randomness."""

import heapq
import itertools
import random
from collections.abc import Callable

from wattline_protocol.ids import Instant, Now, UnixTime

START_UNIX_S = 1_780_000_000.0


class World:
    """The clock of the simulation. Nothing else moves time."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now_s = 0.0
        self.steps = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def after(self, delay_s: float, act: Callable[[], None]) -> None:
        """Do this later."""
        self.at(self.now_s + delay_s, act)

    def at(self, time_s: float, act: Callable[[], None]) -> None:
        """Do this then. Acts at the same time run in the order they were asked for."""
        heapq.heappush(self._heap, (max(time_s, self.now_s), next(self._order), act))

    def every(self, period_s: float, act: Callable[[], None]) -> None:
        """Do this for ever, first after a random part of the period."""

        def again() -> None:
            act()
            self.after(period_s, again)

        self.after(self.rng.random() * period_s, again)

    def step(self) -> bool:
        """Do the next thing; False when there is nothing left."""
        if not self._heap:
            return False
        self.now_s, _, act = heapq.heappop(self._heap)
        self.steps += 1
        act()
        return True

    def run_until(self, time_s: float) -> None:
        """Do everything that is due by then; then it is that time."""
        heap = self._heap
        while heap and heap[0][0] <= time_s:
            self.now_s, _, act = heapq.heappop(heap)
            act()
        self.now_s = time_s


class HostClock:
    """A host's clocks: its monotonic one drifts, its wall clock jumps; both are only its own."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._since_boot_s = world.now_s - world.rng.uniform(10.0, 1e6)
        self._rate = 1.0 + world.rng.uniform(-0.004, 0.004)
        self._wall_error_s = world.rng.uniform(-2.0, 2.0)

    @property
    def now(self) -> Now:
        """What a program on this host reads."""
        mono_s = (self._world.now_s - self._since_boot_s) * self._rate
        return Now(Instant(mono_s), UnixTime(START_UNIX_S + self._world.now_s + self._wall_error_s))

    def set_right(self) -> None:
        """Someone sets the wall clock as it should be."""
        self._wall_error_s = 0.0

    def jump(self, by_s: float) -> None:
        """Someone sets the wall clock."""
        self._wall_error_s += by_s
