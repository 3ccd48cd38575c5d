"""Another scheduler of processes, run in the same call: HyperQueue (PyPI `hyperqueue`).

One server and as many workers as we have nodes, all in one process of its own, which is how its
Python package runs it. It keeps no journal and no logs here: its best case.
"""

import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import msgspec

from wattline.failures import ActFailed
from wattline_bench.verdict import Figures

_HYPERQUEUE = """
import json, os, sys, tempfile, time
from importlib.metadata import version
from pathlib import Path
from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig
workers, cores, count = map(int, sys.argv[1:])
with tempfile.TemporaryDirectory(prefix="wattline-bench-") as folder:
    os.chdir(folder)
    with LocalCluster(f"{folder}/server") as cluster:
        for _ in range(workers):
            cluster.start_worker(WorkerConfig(cores=cores))
        client = cluster.client()
        def once(tasks):
            job = Job()
            for _ in range(tasks):
                job.program(["/bin/true"], stdout=None, stderr=None)
            began, cpu = time.perf_counter(), time.process_time()
            submitted = client.submit(job)
            accepted = time.perf_counter()
            client.wait_for_jobs([submitted])
            return accepted - began, time.perf_counter() - began, time.process_time() - cpu
        once(workers * cores)
        accept_s, all_s, cpu_s = once(count)
        rss = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        print(json.dumps(["hyperqueue " + version("hyperqueue"), count / accept_s, count / all_s,
                          1000 * cpu_s / count, rss / 2**20]))
"""


class Peer(Figures, frozen=True):
    """What it did with the same number of tasks, submitted as one job."""

    name: str
    array_submissions_per_s: float
    array_jobs_per_s: float
    control_cpu_s_per_1000: float
    rss_mib: float


def find(name: str) -> None:
    """Raises ActFailed where the peer cannot be run."""
    if find_spec(name) is None:
        raise ActFailed(
            f"{name} is not installed here: `pip install {name}`, or the extra `dev`, brings it"
        )


def run(*, workers: int, cores: int, jobs: int) -> Peer:
    """Run the peer in a process of its own."""
    command = [sys.executable, "-c", _HYPERQUEUE, *map(str, (workers, cores, jobs))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: list[Any] = msgspec.json.decode(done.stdout.splitlines()[-1])
    return Peer(*figures)
