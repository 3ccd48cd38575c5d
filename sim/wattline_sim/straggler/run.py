"""One gang under a feed that caps it, on the production cores of scheduler and agents.

GPUs need up to 8 % more or less than the mean for the same work, and one far more: under equal caps
it is the one that the others wait for. One side reports the steps of its ranks, the other none, so
that nothing shows the scheduler the straggler; all else is the same.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np

from wattline_protocol.job.spec import Launch
from wattline_protocol.wire.client_messages import Submit
from wattline_sim.facility.building import Shape, build
from wattline_sim.facility.crowd import job_of
from wattline_sim.facility.plant.catalogue import WORKLOADS
from wattline_sim.facility.plant.population import Arrival, Population
from wattline_sim.facility.policies import Wattline
from wattline_sim.facility.run import WARM_UP_S, Facility, Size
from wattline_sim.straggler.rank_clock import RankClock

NODES, FEED_NODES = 2, 1.25
"""Hosts of 8 GPUs, and how many of them the feed allows at TDP."""
MEAN, SPREAD, MORE = 0.8, 0.08, 1.35
"""The GPUs of the gang need 0.8 of what `finetuning` asks for in the mean, about 540 W of 700, so
that the one that needs 1.35 times as much stays below its maximum. Under these caps that one is 12
to 15 % slower than the median; of 18,800 hours on five clusters outliers of 1.5 times the median
are published, with 8 % between GPUs in the mean (Sinha et al., SC22)."""
STEP_WORK_S = 3.0
SUBMIT_S = 10.0
NO_OTHERS = Population("no others", 0.0, (), 0)


@dataclass(frozen=True, slots=True)
class Side:
    """What one side has shown, after the warm-up."""

    steps_per_s: float
    gpu_w: float
    """Mean draw of all GPUs together."""
    seconds_over_feed: float
    event: str
    """The first that names a straggler; empty = none."""
    slow_from_step: int
    """The first step in which its rank was a tenth slower than the median."""
    named_at_step: int
    """Steps that the gang had done by the event."""
    straggler: int
    """The rank whose GPU needs more."""


def side(
    seed: int, minutes: float, *, reports_steps: bool, progress: Callable[[float], None]
) -> Side:
    """Run it."""
    building = build(Shape(nodes=NODES, feed_nodes=FEED_NODES))
    facility = Facility(building, Wattline(), NO_OTHERS, Size(minutes / 60.0, seed))
    straggler = _make_uneven(facility, seed)
    clock = RankClock(facility.plant, STEP_WORK_S)
    facility.plant.jobs.drivers.append(clock)
    if reports_steps:
        for host in facility.hosts:
            host.keeper.ranks_of = clock.of
    watch = _Watch(clock)
    facility.run(_begin, progress, watch.second)
    seconds = minutes * 60.0
    return Side(
        steps_per_s=(clock.work_s - watch.work_s) / STEP_WORK_S / seconds,
        gpu_w=float(facility.plant.cards.energy_j.sum() - watch.energy_j) / seconds,
        seconds_over_feed=facility.score.seconds_over,
        event=watch.event,
        slow_from_step=clock.slow_from_step,
        named_at_step=watch.named_at_step,
        straggler=straggler,
    )


class _Watch:
    """Looks on each second."""

    def __init__(self, clock: RankClock) -> None:
        self._clock = clock
        self.event, self.named_at_step = "", 0
        self.work_s = self.energy_j = 0.0
        """At the end of the warm-up."""

    def second(self, facility: Facility) -> None:
        if facility.now_s <= WARM_UP_S:
            self.work_s = self._clock.work_s
            self.energy_j = float(facility.plant.cards.energy_j.sum())
        cluster = facility.office.cluster
        if cluster is not None and not self.event:
            events = [e.text for e in cluster.state.journal.events if e.kind == "straggler"]
            if events:
                self.event, self.named_at_step = events[0], self._clock.steps


def _make_uneven(facility: Facility, seed: int) -> int:
    dice = np.random.default_rng(seed)
    cards = facility.plant.cards
    factors = MEAN * dice.uniform(1.0 - SPREAD, 1.0 + SPREAD, len(cards.range_w))
    straggler = int(dice.integers(len(factors)))
    factors[straggler] = MEAN * MORE
    cards.range_w *= factors
    return straggler


def _begin(facility: Facility) -> None:
    facility.world.after(SUBMIT_S, lambda: _submit(facility))


def _submit(facility: Facility) -> None:
    per_node = facility.plant.layout.gpus_per_node
    kind = "finetuning"
    arrival = Arrival(
        SUBMIT_S, kind, NODES * per_node, False, 1e9, WORKLOADS[kind], facility.size.seed
    )
    spec = msgspec.structs.replace(job_of(arrival, per_node, 1), launch=Launch("torchrun"))
    facility.office.ask(Submit(spec, "token-1"))
