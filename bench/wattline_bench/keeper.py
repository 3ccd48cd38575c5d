"""What starting, ending and looking at tasks costs on a node, with a real keeper.

Budget: starting a task costs little more than fork and exec, p50 at most 5 ms from the runner's
call until its exec has succeeded, on an otherwise idle machine.
"""

import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil

from wattline_agent.core.ports import KeeperAbsent, LaunchContext
from wattline_agent.executor.runner import KeeperRunner
from wattline_bench.verdict import Figures, judged, over
from wattline_protocol.ids import AttemptNo, GpuIndex, JobId, TaskNo, TaskRef
from wattline_protocol.wire.task_order import TaskOrder

BUDGET_LAUNCH_P50_MS = 5.0
KEEPER_S = 30.0
CONTEXT = LaunchContext(("GPU-aa", "GPU-bb"), "", None, "node-1")


class Step(Figures, frozen=True):
    """One step of a task's life."""

    step: str
    p50_ms: float
    p95_ms: float
    keeper_cpu_ms_per_task: float
    """Of all steps together."""

    def misses(self) -> tuple[str, ...]:
        """Of the launch."""
        if self.step != "launch":
            return ()
        return over("median ms to launch", self.p50_ms, BUDGET_LAUNCH_P50_MS)


@contextmanager
def _keeper(folder: Path) -> Iterator[tuple[KeeperRunner, psutil.Process]]:
    command = [sys.executable, "-m", "wattline_agent.keeper", "--state-dir", str(folder)]
    process = subprocess.Popen(command, start_new_session=True, env=dict(os.environ))
    try:
        runner = _connected(folder)
        yield runner, psutil.Process(process.pid)
        runner.close()
    finally:
        process.terminate()
        process.wait(KEEPER_S)


def _connected(folder: Path) -> KeeperRunner:
    until_s = time.monotonic() + KEEPER_S
    while True:
        try:
            return KeeperRunner(folder)
        except KeeperAbsent:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.02)


def _task(number: int) -> TaskOrder:
    return TaskOrder(
        ref=TaskRef(JobId(number), TaskNo(0), AttemptNo(1)),
        job_name="try",
        owner="ada",
        kind="batch",
        command=("/bin/true",),
        env={},
        gpus=(GpuIndex(0), GpuIndex(1)),
        launcher="process",
    )


def _timed_ms(action: Callable[[], object]) -> float:
    begun_s = time.perf_counter()
    action()
    return (time.perf_counter() - begun_s) * 1e3


def _lives(runner: KeeperRunner, tasks: int) -> dict[str, list[float]]:
    """Milliseconds of each step, one task after the other."""
    took: dict[str, list[float]] = {"launch": [], "observe": [], "to end on disk": [], "drop": []}
    for number in range(1, tasks + 1):
        task = _task(number)
        begun_s = time.perf_counter()
        took["launch"].append(_timed_ms(partial(runner.launch, task, CONTEXT)))
        took["observe"].append(_timed_ms(runner.observe))
        news = runner.fileno()
        assert news is not None, "a keeper of this version tells what changes"
        while runner.observe()[0].exit is None:  # told once it is on disk
            select.select([news], [], [], KEEPER_S)
        took["to end on disk"].append((time.perf_counter() - begun_s) * 1e3)
        took["drop"].append(_timed_ms(partial(runner.drop, task.ref)))
    return took


@judged
def measure(*, tasks: int) -> tuple[Figures, ...]:
    """Run `tasks` tasks, one after the other."""
    with tempfile.TemporaryDirectory(prefix="wattline-bench-") as name:
        folder = Path(name)
        with _keeper(folder) as (runner, process):
            before = process.cpu_times()
            took = _lives(runner, tasks)
            after = process.cpu_times()
    cpu_s = after.user + after.system - before.user - before.system
    return tuple(_step(step, times, cpu_s / tasks * 1e3) for step, times in took.items())


def _step(step: str, times_ms: list[float], cpu_ms: float) -> Step:
    cuts = statistics.quantiles(times_ms, n=20)
    return Step(step, cuts[9], cuts[18], cpu_ms)
