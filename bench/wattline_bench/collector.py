"""What a sample of eight GPUs costs the agent: processor time, driver calls, and memory.

Runs against the simulated driver, whose own share is next to nothing, so this is the client's
floor. Budgets (DESIGN 10): at most 9 driver calls per GPU and sample; 8 GPUs at 1 Hz far below 1 %
of a core: 1,000 µs a sample is 0.1 %.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from wattline.demo.processes import Processes
from wattline_bench.rig.hosts import simulated
from wattline_bench.verdict import Figures, judged, over

BUDGET_CALLS = 9
BUDGET_SAMPLE_US = 1000.0

CLIENT = """
import json, sys, time
from pathlib import Path
import psutil, pynvml
from wattline_agent.device import open_collector
collector = open_collector(Path(sys.argv[1]), Path(sys.argv[2]))
calls, real = [], pynvml._nvmlGetFunctionPointer
collector.sample(5.0)
time.sleep(0.1)
pynvml._nvmlGetFunctionPointer = lambda name: (calls.append(name), real(name))[1]
collector.sample(5.0)
pynvml._nvmlGetFunctionPointer = real
count = int(sys.argv[3])
best = 1e9
for _ in range(5):
    begun = time.process_time()
    for _ in range(count):
        collector.sample(5.0)
    best = min(best, (time.process_time() - begun) / count)
gpus = len(collector.gpus())
print(json.dumps({
    "calls_per_gpu": len([c for c in calls if "Event" not in c or "Reasons" in c]) / gpus,
    "sample_us": best * 1e6, "rss_mib": psutil.Process().memory_info().rss / 2**20}))
collector.close()
"""


class Sample(Figures, frozen=True):
    """Of one pass over eight GPUs."""

    calls_per_gpu: float
    sample_us: float
    rss_mib: float

    def misses(self) -> tuple[str, ...]:
        """Of calls and processor time."""
        return (
            *over("driver calls per GPU and sample", self.calls_per_gpu, BUDGET_CALLS),
            *over("µs of processor time per sample", self.sample_us, BUDGET_SAMPLE_US),
        )


@judged
def measure(*, samples: int) -> Figures:
    """The best of five rounds of `samples`."""
    with tempfile.TemporaryDirectory(prefix="wattline-bench-") as folder:
        processes = Processes(Path(folder), os.environ)
        _, (node,) = simulated(Path(folder), processes, "node")
        try:
            command = [sys.executable, "-c", CLIENT, str(node.library), str(node.sysfs)]
            done = subprocess.run([*command, str(samples)], capture_output=True, check=True)
        finally:
            processes.stop_all()
    return msgspec.json.decode(done.stdout, type=Sample)
