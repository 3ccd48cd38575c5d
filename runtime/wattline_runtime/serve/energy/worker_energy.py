"""The energy of a worker's requests, as its gateways learn it: counters and ledger."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from wattline_runtime.serve.batcher import Key
from wattline_runtime.serve.energy.energy_ledger import EnergyLedger
from wattline_runtime.serve.energy.gpu_counters import GpuCounters


class Reported(Protocol):
    """A connection that idle energy is reported on."""

    idle_uj: int | None
    """What it has reported; None: nothing was measured."""


class WorkerEnergy:
    """On the worker's main thread."""

    def __init__(self, counters: GpuCounters, clock: Callable[[], float] = time.monotonic) -> None:
        self._counters, self._clock = counters, clock
        self._is_metered = counters.has_gpus
        self._ledger = EnergyLedger()
        self._shared_uj = 0
        """Idle energy that connections have reported."""
        self._is_loaded = False

    def start(self) -> None:
        """Begin to measure."""
        self._counters.start()

    def stop(self) -> None:
        """End that."""
        self._counters.stop()

    def began(self, run: object, costs: Mapping[Key, int]) -> None:
        """The model has begun with requests, which share the run's energy by cost."""
        if self._is_metered:
            self._ledger.begin(run, costs, self._now_s())

    def ended(self, run: object) -> None:
        """It has ended."""
        if self._is_metered:
            self._ledger.end(run, self._now_s())

    def take(self, request: Key) -> int | None:
        """Energy of a request that is answered, in microjoules; None: not measured."""
        return self._ledger.take(request)

    def drop(self, request: Key) -> None:
        """A request whose gateway is gone."""
        self._ledger.drop(request)

    def share_idle(self, connections: Sequence[Reported], *, is_loaded: bool) -> None:
        """Divide what was idle since the last time among connections, so that it is counted once.
        Without any it waits for one."""
        now_s = self._now_s()
        if is_loaded and not self._is_loaded:
            self._ledger.loaded(now_s)
        self._is_loaded = is_loaded
        if not connections or not self._ledger.is_measured:
            return
        idle_uj, count = self._ledger.idle_uj - self._shared_uj, len(connections)
        for at, one in enumerate(connections):
            part_uj = idle_uj * (at + 1) // count - idle_uj * at // count
            one.idle_uj = (one.idle_uj or 0) + part_uj
        self._shared_uj += idle_uj

    def _now_s(self) -> float:
        for reading in self._counters.take():
            self._ledger.read(reading.counter_uj, reading.mono_s)
        return self._clock()
