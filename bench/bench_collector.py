"""What a sample of eight GPUs costs the agent: processor time, driver calls, and memory.

    python bench/bench_collector.py [--samples N]

Runs against the simulated driver, whose own share is next to nothing, so this is the client's
floor. Budgets (DESIGN 10): at most 9 driver calls per GPU and sample; 8 GPUs at 1 Hz far below 1 %
of a core: 1,000 µs a sample is 0.1 %. Exit status 1 if one is over.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.simnode import make_node, serving

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
print(json.dumps({"calls": len([c for c in calls if "Event" not in c or "Reasons" in c]) / gpus,
    "sample_us": best * 1e6, "rss_mib": psutil.Process().memory_info().rss / 2**20}))
collector.close()
"""


def main() -> int:
    """Exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100)
    samples = parser.parse_args().samples
    with tempfile.TemporaryDirectory() as folder:
        node = make_node(Path(folder) / "node", gpus=8)
        with serving(node):
            command = [sys.executable, "-c", CLIENT, str(node.library), str(node.sysfs)]
            done = subprocess.run(
                [*command, str(samples)], capture_output=True, text=True, check=True, env=os.environ
            )
    found = json.loads(done.stdout)
    print(f"driver calls per GPU and sample   {found['calls']:8.1f}   budget {BUDGET_CALLS}")
    print(
        f"processor time per sample, µs     {found['sample_us']:8.0f}   budget {BUDGET_SAMPLE_US:g}"
    )
    print(f"resident memory, MiB              {found['rss_mib']:8.0f}")
    is_within = found["calls"] <= BUDGET_CALLS and found["sample_us"] <= BUDGET_SAMPLE_US
    return 0 if is_within else 1


if __name__ == "__main__":
    sys.exit(main())
