"""What happens in a week, from a seed: the same for every policy.

Placements are fixed. Sheds come on weekdays and are announced; a feed is lost once, without notice;
nodes fail at the rate that the scheduler expects of a node of which it has seen nothing; and urgent
jobs preempt gangs.
"""

from dataclasses import dataclass

import numpy as np

from wattline_scheduler.plan.learning.checkpoint_interval import PRIOR_S
from wattline_scheduler.power.demand.energy_goal import BEGIN_S
from wattline_sim.training.kinds import FINETUNING, LIGHT, PRETRAINING, Kind

DAY_S = 86_400.0
WEEK_S = 7 * DAY_S
HOUR_S = 3_600.0

LOW, NORMAL, HIGH, URGENT = 25, 50, 75, 100

SHED_HOURS = (14.0, 19.0)
"""Range of its begin."""
SHED_LASTS_S = (1 * HOUR_S, 3 * HOUR_S)
SHED_DEPTH = (0.2, 0.35)
"""Share of the contract that is given up."""
LOSS_LASTS_S = (2 * HOUR_S, 6 * HOUR_S)
LOSS_LEAVES = 0.6
"""Share of the contract that the other feed carries."""
REPAIR_S = HOUR_S
PREEMPTIONS_PER_DAY = 2.0
GUEST_LASTS_S = (0.5 * HOUR_S, 3 * HOUR_S)
WEEKDAYS = 5


@dataclass(frozen=True, slots=True)
class Job:
    """A gang with its nodes."""

    number: int
    kind: Kind
    nodes: tuple[int, ...]
    priority: int
    begun_s: float = 0.0
    """Run time of its attempt when the week begins."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A budget below the contract: a shed, or the loss of a feed."""

    begin_s: float
    end_s: float
    leaves: float
    """Share of the contract."""
    is_announced: bool


@dataclass(frozen=True, slots=True)
class Fault:
    """A node that fails."""

    at_s: float
    node: int


@dataclass(frozen=True, slots=True)
class Preemption:
    """An urgent job that takes the nodes of a gang."""

    at_s: float
    job: int
    lasts_s: float


@dataclass(frozen=True, slots=True)
class Week:
    """Everything that does not depend on a policy."""

    jobs: tuple[Job, ...]
    limits: tuple[Limit, ...]
    faults: tuple[Fault, ...]
    preemptions: tuple[Preemption, ...]
    lasts_s: float

    @property
    def nodes(self) -> int:
        """Nodes of all jobs."""
        return sum(len(job.nodes) for job in self.jobs)


_MIX = (
    (PRETRAINING, 4, HIGH),
    (PRETRAINING, 4, NORMAL),
    (FINETUNING, 2, NORMAL),
    (FINETUNING, 2, LOW),
    (FINETUNING, 1, NORMAL),
    (FINETUNING, 1, LOW),
    (LIGHT, 1, NORMAL),
    (LIGHT, 1, LOW),
)
"""128 GPUs: a half pretraining, as in published traces of development clusters."""


def week(seed: int, days: float) -> Week:
    """The first `days` of it; what begins later is left out."""
    sheds, losses, faults, preemptions, begins = (
        np.random.default_rng([seed, stream]) for stream in range(5)
    )
    jobs, lasts_s = _jobs(begins), days * DAY_S
    nodes = sum(len(job.nodes) for job in jobs)
    limits = [one for one in (*_sheds(sheds), _loss(losses)) if one.begin_s < lasts_s]
    return Week(
        jobs=jobs,
        limits=tuple(sorted(limits, key=lambda one: one.begin_s)),
        faults=tuple(_faults(faults, nodes, lasts_s)),
        preemptions=tuple(_preemptions(preemptions, jobs, lasts_s)),
        lasts_s=lasts_s,
    )


def _jobs(rng: np.random.Generator) -> tuple[Job, ...]:
    jobs, first = list[Job](), 0
    for number, (kind, nodes, priority) in enumerate(_MIX):
        begun_s = float(rng.uniform(BEGIN_S, DAY_S))
        jobs.append(Job(number, kind, tuple(range(first, first + nodes)), priority, begun_s))
        first += nodes
    return tuple(jobs)


def _sheds(rng: np.random.Generator) -> list[Limit]:
    found = []
    for day in range(WEEKDAYS):
        begin_s = day * DAY_S + rng.uniform(*SHED_HOURS) * HOUR_S
        end_s = begin_s + rng.uniform(*SHED_LASTS_S)
        found.append(Limit(begin_s, end_s, 1.0 - rng.uniform(*SHED_DEPTH), is_announced=True))
    return found


def _loss(rng: np.random.Generator) -> Limit:
    begin_s = rng.uniform(0.1, 0.9) * WEEK_S
    end_s = begin_s + rng.uniform(*LOSS_LASTS_S)
    return Limit(begin_s, end_s, LOSS_LEAVES, is_announced=False)


def _faults(rng: np.random.Generator, nodes: int, lasts_s: float) -> list[Fault]:
    count = rng.poisson(nodes * lasts_s / PRIOR_S)
    times = np.sort(rng.uniform(0.0, lasts_s, count))
    return [Fault(float(at_s), int(rng.integers(nodes))) for at_s in times]


def _preemptions(
    rng: np.random.Generator, jobs: tuple[Job, ...], lasts_s: float
) -> list[Preemption]:
    """Of gangs below high priority."""
    lower = [job.number for job in jobs if job.priority < HIGH]
    count = rng.poisson(PREEMPTIONS_PER_DAY * lasts_s / DAY_S)
    times = np.sort(rng.uniform(0.0, lasts_s, count))
    return [
        Preemption(float(at_s), int(rng.choice(lower)), float(rng.uniform(*GUEST_LASTS_S)))
        for at_s in times
    ]
