"""From a trace of one cluster to the work of a fleet: more of it, and a GPU model for each job.

`copies` of the trace run beside each other, each moved by a number of whole days that the seed
draws, so that hours of the day stay and what was one burst is spread; what moves past the end
resets. The accounts of each copy are accounts of their own. Traces do not say which GPU a
job is written for: it is drawn, and so that each model is asked for as much of its GPUs as every
other, as far as nodes of the job's size go. No policy has any of this.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from wattline_lab.replay.fleet.inventory import Host
from wattline_lab.replay.jobs.trace import TraceJob

DAY_S = 86_400.0

GPUS_PER_NODE = 8
"""What a gang takes of each node at most."""


@dataclass(frozen=True, slots=True)
class Mixed:
    """The work of a fleet."""

    asked: "list[Asked]"
    """By submission."""
    left_out: int
    """Jobs that ask for no GPU, or for more on a node than any has."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A job of the fleet: so many equal tasks on GPUs of one model."""

    job: TraceJob
    model: str
    tasks: int
    gpus_per_task: int


def split(gpus: int) -> tuple[int, int]:
    """Tasks, one a node, and GPUs of each: the fewest equal ones."""
    fewest = ceil(gpus / GPUS_PER_NODE)
    tasks = next(tasks for tasks in range(fewest, gpus + 1) if gpus % tasks == 0)
    return tasks, gpus // tasks


def mixed(
    jobs: Sequence[TraceJob], hosts: Sequence[Host], *, copies: int, days: float, seed: int
) -> Mixed:
    """What is submitted in the first `days`."""
    draw = np.random.default_rng(seed)
    shares = _model_shares(jobs, hosts)
    moved = (job for job in _moved(jobs, copies, draw) if job.submit_s < days * DAY_S)
    within = sorted(moved, key=lambda job: (job.submit_s, job.account, job.id))
    fitting = [job for job in within if job.gpus in shares]
    spots = draw.random(len(fitting)).tolist()
    asked = [
        _asked(replace(job, id=number), shares[job.gpus], spot)
        for number, (job, spot) in enumerate(zip(fitting, spots, strict=True), 1)
    ]
    return Mixed(asked, len(within) - len(fitting))


def _moved(jobs: Sequence[TraceJob], copies: int, draw: np.random.Generator) -> Iterator[TraceJob]:
    length = ceil((max(job.submit_s for job in jobs) + 1.0) / DAY_S)
    for copy, shift in enumerate(draw.integers(0, length, copies).tolist()):
        for job in jobs:
            submit_s = (job.submit_s + shift * DAY_S) % (length * DAY_S)
            due_s = job.deadline_s
            if due_s is not None:
                due_s += submit_s - job.submit_s
            account = f"{job.account}/{copy}"
            yield replace(job, submit_s=submit_s, deadline_s=due_s, account=account)


def _asked(job: TraceJob, shares: dict[str, float], spot: float) -> Asked:
    tasks, gpus = split(job.gpus)
    models, ends = list(shares), np.cumsum(list(shares.values()))
    at = int(np.searchsorted(ends[:-1], spot, side="right"))
    return Asked(job, models[at], tasks, gpus)


def _model_shares(jobs: Sequence[TraceJob], hosts: Sequence[Host]) -> dict[int, dict[str, float]]:
    """By GPUs asked for: the chance of each model. Large tasks first: they have least choice."""
    service_gpu_s: dict[int, float] = defaultdict(float)
    for job in jobs:
        if job.gpus > 0:
            service_gpu_s[job.gpus] += job.gpus * job.duration_s
    load: dict[str, float] = defaultdict(float)
    shares: dict[int, dict[str, float]] = {}
    for gpus in sorted(service_gpu_s, key=lambda gpus: (-split(gpus)[1], -gpus)):
        able = _able(hosts, *split(gpus))
        if not able:
            continue
        given = _leveled(service_gpu_s[gpus], able, load)
        total = sum(given.values())
        shares[gpus] = {model: part / total for model, part in given.items()}
        for model, part in given.items():
            load[model] += part
    return shares


def _able(hosts: Sequence[Host], tasks: int, gpus: int) -> dict[str, int]:
    """GPUs of each model on nodes that hold such a task, if there are enough of them."""
    nodes: dict[str, list[int]] = defaultdict(list)
    for host in hosts:
        if host.gpus >= gpus:
            nodes[host.model].append(host.gpus)
    return {model: sum(sizes) for model, sizes in nodes.items() if len(sizes) >= tasks}


def _leveled(service: float, able: dict[str, int], load: dict[str, float]) -> dict[str, float]:
    """Divide service so that the load a GPU of each model is as even as it can be."""
    by_load = sorted(able, key=lambda model: load[model] / able[model])
    level = 0.0
    for count in range(1, len(by_load) + 1):
        filled = by_load[:count]
        level = (service + sum(load[m] for m in filled)) / sum(able[m] for m in filled)
        if count == len(by_load) or level <= load[by_load[count]] / able[by_load[count]]:
            break
    return {m: max(0.0, level * able[m] - load[m]) for m in filled}
