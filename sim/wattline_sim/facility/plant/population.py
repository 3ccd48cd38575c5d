"""Which jobs a fleet is offered: how much of each kind of work, in which sizes, for how long.

A population states shares of GPU demand, so the load offered per GPU stays the same however large
the fleet is. `jobs` makes it concrete: the fleet starts in its steady state (jobs that already run,
with what is left of them), then jobs arrive as a Poisson process. Every job's own seed derives
from the population's seed and its number: the same under every policy.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from wattline_sim.facility.plant.catalogue import WORKLOADS
from wattline_sim.facility.plant.constants import FITTED
from wattline_sim.facility.plant.workload import Workload

GPUS_PER_TASK = 8
FLEET_SHARE_MAX = 1 / 8
"""No gang is larger than this share of the fleet, so that small fleets are not all one job."""
HIGH_SHARE = 0.30
"""Share of the GPU demand that is of high priority."""
FOREVER_S = math.inf


@dataclass(frozen=True, slots=True)
class JobShape:
    """One kind of job. `share` of the population's GPU demand; durations (seconds of uncapped
    work) are log-normal with mean `mean_s` and shape `spread`, or endless: a service."""

    kind: str
    gpus: int
    share: float
    mean_s: float
    spread: float = 0.8

    @property
    def workload(self) -> Workload:
        """What it asks of its GPUs."""
        return WORKLOADS[self.kind]


@dataclass(frozen=True, slots=True)
class Arrival:
    """One job of a run. `work_s` is what is left of it: ∫ performance dt until it is done."""

    at_s: float
    kind: str
    gpus: int
    is_high: bool
    work_s: float
    workload: Workload
    seed: int


@dataclass(frozen=True, slots=True)
class Population:
    """`offered` is the GPU demand per GPU of the fleet."""

    name: str
    offered: float
    shapes: tuple[JobShape, ...]
    seed: int
    high_share: float = HIGH_SHARE

    def jobs(self, fleet_gpus: int, duration_s: float) -> list[Arrival]:
        """All jobs of a run on a fleet of that size, by time of arrival; some at 0.

        What a whole number of large jobs is too many or too few, the next shapes make up for.
        """
        rng = np.random.default_rng(self.seed)
        largest = max(1, int(fleet_gpus * FLEET_SHARE_MAX))
        drafts: list[tuple[float, JobShape, int, float]] = []
        owed = 0.0
        for shape in self.shapes:
            gpus = _fitting(shape.gpus, largest)
            running = self.offered * shape.share * fleet_gpus / gpus
            left_s = _left_s(rng, shape, running + owed / gpus)
            owed += (running - len(left_s)) * gpus
            drafts += [(0.0, shape, gpus, work_s) for work_s in left_s]
            coming = _coming(rng, shape, running, duration_s)
            drafts += [(at_s, shape, gpus, work_s) for at_s, work_s in coming]
        order = rng.permutation(len(drafts))
        ordered = sorted((drafts[i] for i in order), key=lambda draft: draft[0])
        return self._with_priorities(ordered)

    def _with_priorities(self, drafts: list[tuple[float, JobShape, int, float]]) -> list[Arrival]:
        """High priority goes to whoever keeps its share of the demand nearest to `high_share`."""
        jobs, total, high = [], 0.0, 0.0
        for number, (at_s, shape, gpus, work_s) in enumerate(drafts):
            total += gpus
            is_high = high + gpus / 2 <= self.high_share * total
            high += gpus if is_high else 0.0
            seed = self.seed * 1_000_003 + number
            jobs.append(Arrival(at_s, shape.kind, gpus, is_high, work_s, shape.workload, seed))
        return jobs


def _fitting(gpus: int, largest: int) -> int:
    """Gangs larger than a node come in whole nodes; at most `largest`, at least one task."""
    if gpus <= GPUS_PER_TASK:
        return gpus
    return max(GPUS_PER_TASK, min(gpus, largest) // GPUS_PER_TASK * GPUS_PER_TASK)


def _left_s(rng: np.random.Generator, shape: JobShape, running: float) -> list[float]:
    """What is left of the jobs that run at time 0: a part of a length-biased duration."""
    running = max(running, 0.0)
    whole = int(running) + int(rng.random() < running - int(running))
    if math.isinf(shape.mean_s):
        return [FOREVER_S] * whole
    biased = _log_normal(rng, shape.mean_s * math.exp(shape.spread**2), shape.spread, whole)
    return [float(w) for w in biased * rng.random(whole)]


def _coming(
    rng: np.random.Generator, shape: JobShape, running: float, duration_s: float
) -> list[tuple[float, float]]:
    """(arrival, work) of the jobs that come later, at the rate that replaces those that end."""
    if math.isinf(shape.mean_s):
        return []
    count = int(rng.poisson(running * duration_s / shape.mean_s))
    arrivals = np.sort(rng.uniform(0.0, duration_s, count))
    work = _log_normal(rng, shape.mean_s, shape.spread, count)
    return [(float(at), float(w)) for at, w in zip(arrivals, work, strict=True)]


def _log_normal(
    rng: np.random.Generator, mean: float, spread: float, count: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.asarray(mean * np.exp(spread * rng.standard_normal(count) - spread * spread / 2))


_SIZES: dict[str, tuple[tuple[int, float, float], ...]] = {
    "pretraining": ((64, 0.5, 12 * 3600.0), (16, 0.5, 4 * 3600.0)),
    "finetuning": ((16, 0.3, 3 * 3600.0), (8, 0.7, 2 * 3600.0)),
    "light-training": ((4, 0.5, 3600.0), (1, 0.5, 3600.0)),
    "batch": ((8, 0.5, 3600.0), (1, 0.5, 1800.0)),
    "session": ((8, 0.3, 3600.0), (1, 0.7, 3600.0)),
    "waiting": ((8, 0.6, 1800.0), (1, 0.4, 900.0)),
    "stalled": ((8, 0.5, 1800.0), (1, 0.5, 900.0)),
    "serving": ((8, 0.6, FOREVER_S), (4, 0.4, FOREVER_S)),
}
"""(GPUs, share of the kind's demand, mean duration), largest first. Sizes as published for LLM
development, where most jobs are small and most GPU time goes to large ones; durations assumed."""


def mixed(seed: int, fleet: str = "seren") -> Population:
    """LLM development plus inference, with GPU power distributed as in that Acme cluster."""
    shares = FITTED.mix_of(fleet).shares
    offered = sum(shares.values())
    shapes = [
        JobShape(kind, gpus, part * share / offered, mean_s)
        for kind, share in shares.items()
        if share > 0.0
        for gpus, part, mean_s in _SIZES[kind]
    ]
    return Population("mixed", offered, tuple(shapes), seed)


def all_hot(seed: int) -> Population:
    """Nothing but large training jobs at full draw: no idle watts to share out."""
    shapes = (
        JobShape("pretraining", 32, 0.6, 8 * 3600.0),
        JobShape("pretraining", 8, 0.4, 4 * 3600.0),
    )
    return Population("all-hot", 1.0, shapes, seed)


def inference_row(seed: int) -> Population:
    """Replicas of large models on every GPU, under daily traffic."""
    return Population("inference-row", 1.0, (JobShape("serving-row", 8, 1.0, FOREVER_S),), seed)


def burst(seed: int) -> Population:
    """Jobs that all go from waiting to full draw in the same second, every three minutes."""
    return Population("burst", 0.9, (JobShape("pulse", 8, 1.0, FOREVER_S),), seed)


POPULATIONS: dict[str, Callable[[int], Population]] = {
    "mixed": mixed,
    "all-hot": all_hot,
    "inference-row": inference_row,
    "burst": burst,
}
"""By name, from a seed."""
