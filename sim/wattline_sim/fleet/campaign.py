"""Many seeds over several processes: what they saw together, the same whatever the processes."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import msgspec

from wattline_sim.fleet.run import Outcome, Run, Violation

SEEDS_A_PIECE = 4
"""Seeds that a process takes at a time."""

Progress = Callable[["Tally"], None]


class Tally(msgspec.Struct):
    """What the seeds of a campaign saw. All but the times depends on the seeds alone."""

    start: int
    seeds: int = 0
    """Seeds done."""
    steps: int = 0
    virtual_s: float = 0.0
    jobs: int = 0
    attempts: int = 0
    messages: int = 0
    lost: int = 0
    checks: int = 0
    faults: dict[str, int] = {}
    violations: list[Violation] = []
    stuck_jobs: int = 0
    seconds: float = 0.0
    seeds_per_s: float = 0.0

    def add(self, outcome: Outcome, seconds: float) -> None:
        """Count one more seed; `seconds` since the campaign began."""
        self.seeds += 1
        for name in ("steps", "virtual_s", "jobs", "attempts", "messages", "lost", "checks"):
            setattr(self, name, getattr(self, name) + getattr(outcome, name))
        self.faults = dict(sorted((Counter(self.faults) + Counter(outcome.faults)).items()))
        if outcome.violation is not None:
            self.violations.append(outcome.violation)
            self.stuck_jobs += outcome.violation.stuck_jobs
        self.seconds = round(seconds, 1)
        self.seeds_per_s = round(self.seeds / seconds, 2) if seconds > 0 else 0.0


def run_seeds(
    start: int, count: int, *, processes: int | None = None, progress: Progress | None = None
) -> Tally:
    """Run `count` seeds from `start` on; a seed that fails does not end it.

    `processes`: None = one for each core this program may use. `progress` is called after each
    seed, in the order of the seeds.
    """
    tally, began_s = Tally(start=start), time.perf_counter()
    for outcome in outcomes(range(start, start + count), processes or usable_cores()):
        tally.add(outcome, time.perf_counter() - began_s)
        if progress is not None:
            progress(tally)
    return tally


def outcomes(seeds: Iterable[int], processes: int) -> Iterator[Outcome]:
    """The outcome of each seed, in their order."""
    if processes <= 1:
        yield from map(run_one, seeds)
        return
    # Spawned, so that no run can see what another left behind in its process's parent.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(run_one, seeds, chunksize=SEEDS_A_PIECE)


def run_one(seed: int) -> Outcome:
    """One seed, whatever becomes of it."""
    return Run(seed).finish()


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0))
