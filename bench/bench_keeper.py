"""What starting, ending and looking at tasks costs on a node, with a real keeper.

    python bench/bench_keeper.py [--tasks N]

Prints a table. Budget: starting a task costs little more than fork and exec, p50 at most 5 ms from
the runner's call until its exec has succeeded, on an otherwise idle machine. Exit status 1 if it is
over.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.keepers import CONTEXT, LiveKeeper, keeper, order, ref

BUDGET_P50_MS = 5.0


def timed_ms(action: Callable[[], object]) -> float:
    """How long it takes."""
    begun = time.perf_counter()
    action()
    return (time.perf_counter() - begun) * 1e3


def measure(live: LiveKeeper, tasks: int) -> dict[str, list[float]]:
    """Milliseconds of each step, one task after the other."""
    took: dict[str, list[float]] = {"launch": [], "observe": [], "to end on disk": [], "drop": []}
    for number in range(tasks):
        name = ref(number + 1)
        task = order("/bin/true", of=name)
        begun = time.perf_counter()
        took["launch"].append(timed_ms(partial(live.runner.launch, task, CONTEXT)))
        took["observe"].append(timed_ms(live.runner.observe))
        exit_file = live.task_dir(name) / "exit.json"
        while not exit_file.exists():
            time.sleep(0.0002)
        took["to end on disk"].append((time.perf_counter() - begun) * 1e3)
        live.runner.observe()
        took["drop"].append(timed_ms(partial(live.runner.drop, name)))
    return took


def main() -> int:
    """Exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=200)
    tasks = parser.parse_args().tasks
    with tempfile.TemporaryDirectory() as folder, keeper(Path(folder)) as live:
        before = psutil.Process(live.process.pid).cpu_times()
        took = measure(live, tasks)
        after = psutil.Process(live.process.pid).cpu_times()
    print(f"{'step':16} {'p50 ms':>8} {'p95 ms':>8}")
    for step, times in took.items():
        cuts = statistics.quantiles(times, n=20)
        print(f"{step:16} {cuts[9]:8.2f} {cuts[18]:8.2f}")
    cpu_ms = (after.user + after.system - before.user - before.system) / tasks * 1e3
    print(f"{'keeper CPU':16} {cpu_ms:8.2f}          per task, whatever else the machine does")
    p50_ms = statistics.median(took["launch"])
    print(f"budget for launch: p50 {BUDGET_P50_MS} ms")
    return 0 if p50_ms <= BUDGET_P50_MS else 1


if __name__ == "__main__":
    sys.exit(main())
