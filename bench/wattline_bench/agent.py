"""What an agent costs its host: processor time, memory, driver calls; idle and with all GPUs busy.

The agent is the real process (`wattline agent`), with a keeper beside it, on a simulated node of
8 GPUs, in a real site whose scheduler answers its beats; power is rebalanced as usual. Only the
agent is counted: the simulated driver's own share lies in the physics process. Its NVML calls are
counted where pynvml looks a function up, once a call; waits for events are left out, since they
are one a second for the whole node. Budgets (DESIGN 10): at most 1 % of a core, 60 MiB resident,
9 calls per GPU and second.
"""

import mmap
import struct
import sys
import tempfile
import time
from pathlib import Path

import psutil

from wattline_bench.rig.hosts import GPUS, host_site
from wattline_bench.verdict import Figures, judged, over

BUDGET_CORE_PCT = 1.0
BUDGET_RSS_MIB = 60.0
BUDGET_CALLS = 9.0
SETTLE_S = 6.0
"""Imports, adoption and the first look at slow counters are over by then."""
LOAD = "WATTLINE_SIM_PROFILE=training-hot"

COUNTED = """
import mmap, os, runpy, struct, sys
import pynvml
descriptor = os.open(sys.argv[1], os.O_RDWR)
shared, real = mmap.mmap(descriptor, 8), pynvml._nvmlGetFunctionPointer
def counted(name):
    if not name.startswith("nvmlEvent"):
        struct.pack_into("Q", shared, 0, struct.unpack_from("Q", shared)[0] + 1)
    return real(name)
pynvml._nvmlGetFunctionPointer = counted
sys.argv = sys.argv[4:]  # without this script's file, `python -m`
runpy.run_module("wattline", run_name="__main__")
"""
"""Runs `wattline` in its own process, with a counter that others can read."""


class Cost(Figures, frozen=True):
    """Of one agent over the measured seconds."""

    gpus_busy: int
    core_pct: float
    rss_mib: float
    nvml_calls_per_gpu_s: float

    def misses(self) -> tuple[str, ...]:
        """Of one core, memory and driver calls."""
        return (
            *over(f"% of a core, {self.gpus_busy} GPUs busy,", self.core_pct, BUDGET_CORE_PCT),
            *over("resident MiB", self.rss_mib, BUDGET_RSS_MIB),
            *over("driver calls per GPU and second", self.nvml_calls_per_gpu_s, BUDGET_CALLS),
        )


class Counter:
    """The number that the counted process keeps in a file."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 8)

    @property
    def value(self) -> int:
        """Now."""
        number: int = struct.unpack_from("Q", self._shared)[0]
        return number


def _watch(agent: psutil.Process, counter: Counter, busy: int, seconds: float) -> Cost:
    time.sleep(SETTLE_S)
    calls, before, began_s = counter.value, agent.cpu_times(), time.monotonic()
    time.sleep(seconds)
    took_s, after = time.monotonic() - began_s, agent.cpu_times()
    cpu_s = after.user + after.system - before.user - before.system
    return Cost(
        busy,
        100.0 * cpu_s / took_s,
        agent.memory_info().rss / 2**20,
        (counter.value - calls) / GPUS / took_s,
    )


@judged
def measure(*, seconds: float) -> tuple[Figures, ...]:
    """First with nothing to do, then with a task on every GPU; `seconds` each."""
    with tempfile.TemporaryDirectory(prefix="wattline-bench-") as folder:
        counter = Counter(Path(folder) / "calls")
        script = Path(folder) / "counted.py"
        script.write_text(COUNTED, encoding="utf-8")
        prefix = (sys.executable, str(script), str(Path(folder) / "calls"))
        with host_site(lambda name: prefix if name.startswith("agent") else ()) as site:
            site.start_nodes()
            agent = psutil.Process(site.agents[0])
            idle = _watch(agent, counter, 0, seconds)
            tasks = ["--array", f"0-{GPUS - 1}", "--gpus", "1", "-e", LOAD]
            job = int(site.run("submit", "--quiet", *tasks, "--", "sleep", "600"))
            site.until(lambda: site.client.job(job).gangs_running == GPUS, "a task on every GPU")
            return idle, _watch(agent, counter, GPUS, seconds)
