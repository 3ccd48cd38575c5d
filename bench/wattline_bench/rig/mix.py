"""Which jobs wait: shapes drawn by how often a public trace has them, else by shares of our own.

The traces: the pods of openb (Weng et al., USENIX ATC 2023) for GPUs, CPUs, memory and GPU model of
a task, and Philly (Jeon et al., USENIX ATC 2019) for how many GPUs a gang has. Both are read from
the folder that `$WATTLINE_TRACES` names. A share of a GPU counts as a whole one.
"""

import csv
import gzip
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wattline_protocol.job.spec import PRIORITIES, JobSpec, Resources

GPUS_PER_NODE = 8
MIB = 2**20
PODS = Path("alibaba-openb-2023", "openb_pod_list_default.csv.gz")
GANGS = Path("philly-2017", "jobs_2017-09_to_10.csv.gz")

LARGEST_GANG_NODES = 16
"""Larger gangs of Philly are cut to this."""

GANG_SHARE = 0.2
"""Of the queue: jobs sized as in Philly."""

RARE_SHARE = 0.25
"""Of the queue: kinds of jobs drawn evenly, so that the rare ones are there too."""

MEMORY_BYTES_MAX = 512 * 2**30

OWN_GPUS = {0: 0.12, 1: 0.75, 2: 0.06, 4: 0.04, 8: 0.03}
OWN_CPUS_PER_GPU = (2, 4, 6, 8, 12, 16)
OWN_MEMORY_MIB = (4_096, 16_384, 32_768, 49_152, 65_536, 98_304)
OWN_GANGS = {1: 0.9, 2: 0.02, 4: 0.02, 8: 0.04, 16: 0.015, 32: 0.005}
"""GPUs of a gang. Rounded shares of the same traces, for where they are absent."""

PRIORITY_SHARES = {"low": 0.2, "normal": 0.6, "high": 0.2}


class Wanted(NamedTuple):
    """What a job asks for, to be counted."""

    nodes: int = 1
    gpus_per_node: int = 0
    cpus_per_gpu: int = 0
    memory_bytes: int = 0
    gpu_type: tuple[str, ...] = ()


class Mix:
    """Draws jobs; the same seed draws the same ones."""

    def __init__(self, seed: int) -> None:
        folder = os.environ.get("WATTLINE_TRACES", "")
        self._draw = np.random.default_rng(seed)
        self.is_traced = bool(folder) and (Path(folder) / PODS).exists()
        tasks = _openb(Path(folder)) if self.is_traced else _own_tasks()
        gangs = _philly(Path(folder)) if self.is_traced else _own_gangs()
        self._tasks, self._task_shares = _shares(tasks)
        self._gangs, self._gang_shares = _shares(gangs)

    def jobs(self, count: int) -> list[JobSpec]:
        """So many jobs in the order of their submission."""
        is_gang = self._draw.random(count) < GANG_SHARE
        tasks = self._draw.choice(len(self._tasks), count, p=self._task_shares)
        gangs = self._draw.choice(len(self._gangs), count, p=self._gang_shares)
        words = self._draw.choice(list(PRIORITY_SHARES), count, p=list(PRIORITY_SHARES.values()))
        picked = zip(is_gang.tolist(), tasks.tolist(), gangs.tolist(), words.tolist(), strict=True)
        return [
            JobSpec(
                name="bench",
                command=("true",),
                resources=self._gangs[gang] if of_gang else self._tasks[task],
                priority=PRIORITIES[word],
            )
            for of_gang, task, gang, word in picked
        ]


def _shares(counts: Counter[Wanted]) -> tuple[list[Resources], list[float]]:
    total, kinds = counts.total(), len(counts)
    shares = [(1 - RARE_SHARE) * count / total + RARE_SHARE / kinds for count in counts.values()]
    return [Resources(**wanted._asdict()) for wanted in counts], shares


def _openb(folder: Path) -> Counter[Wanted]:
    counts: Counter[Wanted] = Counter()
    with gzip.open(folder / PODS, "rt") as file:
        for pod in csv.DictReader(file):
            gpus, cpus = int(pod["num_gpu"]), -(-int(pod["cpu_milli"]) // 1000)
            memory = int(pod["memory_mib"]) * MIB
            counts[_task(gpus, cpus, memory, is_choosy=bool(pod["gpu_spec"]))] += 1
    return counts


def _philly(folder: Path) -> Counter[Wanted]:
    with gzip.open(folder / GANGS, "rt") as file:
        sizes = Counter(int(job["num_gpus"]) for job in csv.DictReader(file))
    return Counter({_gang(gpus): count for gpus, count in sizes.items()})


def _own_tasks() -> Counter[Wanted]:
    counts: Counter[Wanted] = Counter()
    for gpus, share in OWN_GPUS.items():
        for cpus in OWN_CPUS_PER_GPU:
            for memory in OWN_MEMORY_MIB:
                task = _task(gpus, cpus * max(1, gpus), memory * MIB, is_choosy=cpus == 16)
                counts[task] += round(1_000_000 * share)
    return counts


def _own_gangs() -> Counter[Wanted]:
    return Counter({_gang(gpus): round(1_000 * share) for gpus, share in OWN_GANGS.items()})


def _task(gpus: int, cpus: int, memory_bytes: int, *, is_choosy: bool) -> Wanted:
    return Wanted(
        gpus_per_node=gpus,
        cpus_per_gpu=-(-cpus // gpus) if gpus else 0,
        memory_bytes=min(memory_bytes, MEMORY_BYTES_MAX),
        gpu_type=("h100",) if is_choosy and gpus else (),
    )


def _gang(gpus: int) -> Wanted:
    nodes = min(LARGEST_GANG_NODES, -(-gpus // GPUS_PER_NODE))
    return Wanted(nodes=nodes, gpus_per_node=min(gpus, GPUS_PER_NODE), cpus_per_gpu=4)
