"""The scheduler's planner puts a list of pods where the replay of the list puts it."""

import dataclasses
import random
from pathlib import Path

import numpy as np

from support.core.sites import job
from support.strategies.openb_lists import write_lists
from wattline_lab.replay.openb.fleet import MIB, Fleet, Workload, classes_of, workload_of
from wattline_lab.replay.openb.lists import ListedNode, Pod
from wattline_lab.replay.openb.policies import wattline
from wattline_lab.replay.openb.replay import read_lists
from wattline_lab.replay.openb.run import Run
from wattline_protocol.ids import Instant, NodeId
from wattline_protocol.site.wall_power import PERMILLE
from wattline_scheduler.plan.mix.task_mix import Pricing
from wattline_scheduler.plan.model.columns import Columns
from wattline_scheduler.plan.model.shape import Shape, shape_of
from wattline_scheduler.plan.model.snapshot import NodeOffer, Snapshot
from wattline_scheduler.plan.search.gang import place_gang
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.power.books.watt_admission import Booking

MILLI = 1000
"""Of a CPU: the replay counts in these."""

ROUNDS = 3
"""Until nothing fits any more."""


def in_whole_cpus(columns: Columns) -> Snapshot:
    """The fleet as the planner sees it, with nothing that limits watts."""
    columns.cpus_free //= MILLI
    columns.cpus[:] = columns.cpus_free
    nodes = [NodeId(f"n{at}") for at in range(columns.node_count)]
    offers = tuple(
        NodeOffer(
            node, "r", "", (), (), 0, 0, 0, 0, Booking(node, 0, 0, PERMILLE, is_controlled=True)
        )
        for node in nodes
    )
    position = {node: at for at, node in enumerate(nodes)}
    return Snapshot(Instant(0.0), offers, position, (), columns, ())


def shape(pod: Pod) -> Shape:
    asked = job().gpus(pod.gpus).gpu_type(*sorted(pod.models))
    is_share = pod.gpus == 1 and pod.gpu_milli < 1000
    plain = shape_of((asked.share(pod.gpu_milli) if is_share else asked).build())
    memory_bytes = pod.memory_mib * MIB
    return dataclasses.replace(plain, cpus=pod.cpu_milli // MILLI, memory_bytes=memory_bytes)


class Planner:
    """One pod after the other through the planner's own placement."""

    def __init__(self, nodes: list[ListedNode], workload: Workload) -> None:
        self.seen = in_whole_cpus(Fleet(nodes, classes_of(nodes)).columns)
        self._pricing = Pricing()
        # What takes a whole node asks for a part of a CPU, which a mix of the scheduler never does.
        cpus = np.floor_divide(workload.mix.cpus, MILLI)
        self._mix = dataclasses.replace(workload.mix, cpus=cpus)

    def arrive(self, pod: Pod) -> int | None:
        self._pricing.renew(self.seen.columns, self._mix)
        trial = Trial(dataclasses.replace(self.seen, prices=self._pricing.prices))
        places = place_gang(trial, shape(pod))
        self.seen = dataclasses.replace(self.seen, columns=trial.columns)
        return self.seen.position[places[0].node] if places is not None else None


def test_the_planner_puts_a_list_where_the_replay_puts_it(tmp_path: Path) -> None:
    lists = read_lists(*write_lists(tmp_path), None)
    classes = classes_of(lists.nodes)
    workload = workload_of(lists.pods, lists.nodes, classes, whole=True)
    fleet = Fleet(lists.nodes, classes)
    run, planner = Run(fleet, wattline(workload)), Planner(lists.nodes, workload)
    order = list(range(len(lists.pods))) * ROUNDS
    random.Random(1).shuffle(order)
    places = [(run.arrive(workload.tasks[at]), planner.arrive(lists.pods[at])) for at in order]
    assert [ours for ours, _ in places] == [planned for _, planned in places]
    assert (fleet.columns.free_milli == planner.seen.columns.free_milli).all()
    assert places[0][0] is not None
    assert places[-1][0] is None, "the fleet was filled up"
