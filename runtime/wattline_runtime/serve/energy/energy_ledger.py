"""Divides the energy of a worker's GPUs over its requests, without I/O.

A counter of a GPU grows in steps of 20 to 100 ms, a batch may take 5 ms, and its answer cannot wait
for the next step. So a run (a batch, or a generation) is charged what was measured while it ran,
and for the time since the last reading the mean power of runs. What the next reading shows to have
been too much or too little is carried, and charged to the runs that follow over a second of work.

A reading's energy is of the time since the one before it. Where no run was active, it is idle, and
shows the idle power; otherwise the idle power counts for the time without a run and the rest is of
the runs. So the draw that requests cause between batches is theirs, and so is what a counter shows
late.

All sums are whole microjoules and agree exactly, see `EnergyLedger.check_invariants`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp

from wattline_runtime.serve.batcher import Key

LAG_S = 0.25
"""A counter may show energy that late."""
SPREAD_S = 1.0
"""Work over which a difference is charged."""
FROZEN_S = 1.5
"""Without any event for so long the process did not run: the GPU waited."""
STALE_S = 5.0
"""Without a reading for so long nothing is measured."""
IDLE_MEMORY_S = 5.0
RUN_MEMORY_S = 2.0
"""Time constants of the idle power, and of that of runs."""
LEAST_IDLE_S = 0.15
LEAST_RUN_S = 0.05
"""Measured time that shows them; before it the newest mean power counts."""
MAX_WORKER_W = 20_000
"""Of all GPUs of a worker: a counter that grows faster has been restarted or is broken."""
UJ = 1_000_000


@dataclass(slots=True)
class _Power:
    """A mean power, in which older energy and time count less."""

    memory_s: float
    """Time constant."""
    least_s: float
    """Measured time that shows it."""
    _energy_uj: float = 0.0
    _seconds: float = 0.0

    def add(self, energy_uj: int, seconds: float) -> None:
        """What was measured."""
        old = exp(-seconds / self.memory_s)
        self._energy_uj = self._energy_uj * old + energy_uj
        self._seconds = self._seconds * old + seconds

    def uj(self, seconds: float, else_w: float) -> int:
        """Energy of so much time; by `else_w` as long as too little is known."""
        is_known = self._seconds >= self.least_s
        return int((self._energy_uj / self._seconds if is_known else else_w * UJ) * seconds)


@dataclass(slots=True)
class _Run:
    parts: Mapping[Key, int]
    """Costs by request."""
    began_s: float
    """Work of a run that would have been active all the time, when it began."""
    seen_s: float
    """The same at the last reading."""
    energy_uj: int = 0
    """Up to then."""
    left: set[Key] = field(default_factory=set)
    """Requests that were answered before its end."""


@dataclass(slots=True)
class EnergyLedger:
    """The energy of one worker. Times are monotonic; one that lies in the past counts as now."""

    idle_uj: int = 0
    """Of no request: while no run was active, or its client has left."""
    charged_uj: int = 0
    """To requests."""
    _first_uj: int | None = None
    """Counter less all that was measured; None: there is no reading yet."""
    _counter_uj: int = 0
    _read_s: float = 0.0
    """When the counter last grew."""
    _now_s: float = 0.0
    _work_s: float = 0.0
    """Time with active runs, each second divided by their number."""
    _busy_s: float = 0.0
    """Time with active runs since the last reading."""
    _busy_until_s: float = 0.0
    _carry_uj: int = 0
    """Measured for runs that have ended, less what they were charged."""
    _idle: _Power = field(default_factory=lambda: _Power(IDLE_MEMORY_S, LEAST_IDLE_S))
    _run: _Power = field(default_factory=lambda: _Power(RUN_MEMORY_S, LEAST_RUN_S))
    _mean_w: float = 0.0
    """Between the last two readings."""
    _was_frozen: bool = False
    """Since the last reading."""
    _runs: dict[object, _Run] = field(default_factory=dict)
    _owed: dict[Key, int] = field(default_factory=dict)
    """To requests whose runs have ended, until they are answered."""

    # --- runs

    def begin(self, run: object, costs: Mapping[Key, int], now_s: float) -> None:
        """A run of requests, which share its energy by cost."""
        self._advance(now_s)
        self._runs[run] = _Run(costs, self._work_s, self._work_s)

    def end(self, run: object, now_s: float) -> None:
        """A run has ended; its requests may have further ones before they are answered."""
        self._advance(now_s)
        one = self._runs.pop(run, None)
        if one is None:
            return
        if not self.is_measured:
            self._carry_uj += one.energy_uj
            return
        own_uj = one.energy_uj + self._run.uj(self._work_s - one.seen_s, self._mean_w)
        part = min(1.0, (self._work_s - one.began_s) / SPREAD_S)
        energy_uj = max(0, own_uj + int(self._carry_uj * part))
        self._carry_uj -= energy_uj - one.energy_uj
        self.charged_uj += energy_uj
        total, upto = sum(one.parts.values()), 0
        for request, cost in one.parts.items():
            before_uj = energy_uj * upto // total
            upto += cost
            share_uj = energy_uj * upto // total - before_uj
            self._owed[request] = self._owed.get(request, 0) + share_uj
        for request in one.left:
            self._give_up(self._owed.pop(request))

    def take(self, request: Key) -> int | None:
        """The energy of a request that is answered, in microjoules; None: not measured."""
        energy_uj = self._owed.pop(request, None)
        for run in self._runs.values() if energy_uj is None else ():
            if request in run.parts:
                run.left.add(request)
        return energy_uj

    def drop(self, request: Key) -> None:
        """Its answer has no client any more: its energy counts as idle."""
        self._give_up(self.take(request) or 0)

    def _give_up(self, energy_uj: int) -> None:
        self.charged_uj -= energy_uj
        self.idle_uj += energy_uj

    @property
    def is_measured(self) -> bool:
        """Whether the counter has grown lately."""
        return self._mean_w > 0 and self._now_s - self._read_s < STALE_S

    def _advance(self, now_s: float) -> None:
        seconds = now_s - self._now_s
        if seconds <= 0:
            return
        self._now_s = now_s
        if self._runs and seconds >= FROZEN_S:
            self._was_frozen = True
        elif self._runs:
            self._busy_s += seconds
            self._work_s += seconds / len(self._runs)
            self._busy_until_s = now_s

    # --- readings

    def loaded(self, now_s: float) -> None:
        """The model is ready: what its GPUs drew until now is no idle power."""
        self._busy_until_s = max(self._busy_until_s, now_s)
        self._idle = _Power(IDLE_MEMORY_S, LEAST_IDLE_S)

    def read(self, counter_uj: int, now_s: float) -> None:
        """The sum of the counters of the worker's GPUs."""
        self._advance(now_s)
        if counter_uj == self._counter_uj:
            return
        grown_uj, seconds = counter_uj - self._counter_uj, self._now_s - self._read_s
        if self._first_uj is None or not 0 < grown_uj <= MAX_WORKER_W * seconds * UJ:
            # The first reading, or those of another driver: what was measured stays measured.
            self._first_uj = counter_uj - self._measured_uj
        else:
            self._book(grown_uj, seconds)
        self._counter_uj, self._read_s = counter_uj, self._now_s
        self._busy_s, self._was_frozen = 0.0, False

    @property
    def _measured_uj(self) -> int:
        return self.idle_uj + self.charged_uj + self._open_uj + self._carry_uj

    @property
    def _open_uj(self) -> int:
        return sum(run.energy_uj for run in self._runs.values())

    def _book(self, grown_uj: int, seconds: float) -> None:
        self._mean_w = grown_uj / UJ / seconds
        quiet_s = self._now_s - seconds - self._busy_until_s
        if not self._busy_s and not self._runs and quiet_s >= LAG_S:
            self._book_idle(grown_uj, seconds)
            return
        idle_uj = self._idle.uj(max(0.0, seconds - self._busy_s), self._mean_w)
        if self._was_frozen:  # a process that waits may draw more than an idle one
            idle_uj = max(idle_uj, grown_uj - self._run.uj(self._busy_s, self._mean_w))
        idle_uj = max(0, min(grown_uj, idle_uj))
        self.idle_uj += idle_uj
        self._book_runs(grown_uj - idle_uj)

    def _book_idle(self, grown_uj: int, seconds: float) -> None:
        """Differences of the runs before are settled as well."""
        settled_uj = max(self._carry_uj, -grown_uj)
        self._carry_uj -= settled_uj
        self.idle_uj += grown_uj + settled_uj
        self._idle.add(grown_uj, seconds)

    def _book_runs(self, energy_uj: int) -> None:
        self._run.add(energy_uj, self._busy_s)
        power_w = energy_uj / UJ / self._busy_s if self._busy_s else 0.0
        left_uj = energy_uj
        for run in self._runs.values():
            part_uj = min(left_uj, int(power_w * (self._work_s - run.seen_s) * UJ))
            run.energy_uj, run.seen_s = run.energy_uj + part_uj, self._work_s
            left_uj -= part_uj
        self._carry_uj += left_uj

    def check_invariants(self) -> None:
        """Raise AssertionError unless all that the counter has grown by is in one sum."""
        if self._first_uj is not None and self._counter_uj - self._first_uj != self._measured_uj:
            grown_uj = self._counter_uj - self._first_uj
            raise AssertionError(f"measured {grown_uj} uJ, booked {self._measured_uj}")
        if min(self.idle_uj, self.charged_uj, *self._owed.values(), 0) < 0:
            raise AssertionError("a negative energy")
