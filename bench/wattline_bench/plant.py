"""What a step of the facility simulator's plant costs: processor time for 0.1 s of its time.

The fleet runs the `mixed` population and every second GPU is capped, so that jobs, services, caps,
breakers and zones all have work. Counted is processor time, the median of the rounds: other
programs on the machine then matter less.
"""

import statistics
import time

import numpy as np

from wattline_bench.verdict import Figures, judged, over
from wattline_sim.facility.plant import Feed, Layout, NodePlace, Plant, Zone, mixed

BUDGET_US, BUDGET_GPUS = 500.0, 1_024
"""Well under a millisecond for a step of 128 nodes; larger fleets in proportion."""
NODES_PER_ROW, NODES_PER_ZONE = 16, 64
ROUND_S = 5.0
CAP_W = 450.0


class PlantCost(Figures, frozen=True):
    """One size of fleet."""

    gpus: int
    nodes: int
    step_us_p50: float
    times_real_time: float
    """Simulated seconds a processor second, if nothing but the plant ran."""

    def misses(self) -> tuple[str, ...]:
        """A step must leave most of the time to the scheduler and the agents."""
        limit_us = BUDGET_US * max(1.0, self.gpus / BUDGET_GPUS)
        return over(f"a step of {self.gpus} GPUs, in µs,", self.step_us_p50, limit_us)


def layout(nodes: int) -> Layout:
    """Rows on two feeds, rooms of 64 nodes."""
    rows, rooms = -(-nodes // NODES_PER_ROW), -(-nodes // NODES_PER_ZONE)
    row_w, room_w = NODES_PER_ROW * 12_000.0, NODES_PER_ZONE * 12_000.0
    mains = [Feed(side, nodes * 12_000.0, "msb") for side in "ab"]
    below = [Feed(f"{side}-{n}", row_w, "row", side) for side in "ab" for n in range(rows)]
    return Layout(
        nodes=tuple(
            NodePlace(
                (f"a-{n // NODES_PER_ROW}", f"b-{n // NODES_PER_ROW}"), f"{n // NODES_PER_ZONE}"
            )
            for n in range(nodes)
        ),
        feeds=(*mains, *below),
        zones=tuple(Zone(f"{n}", 4, room_w / 4) for n in range(rooms)),
    )


def busy_plant(nodes: int, seed: int) -> Plant:
    """In the steady state of `mixed`."""
    plant = Plant(layout(nodes), seed)
    free = 0
    for job in mixed(seed).jobs(plant.layout.gpu_count, 0.0):
        if free + job.gpus <= plant.layout.gpu_count:
            plant.load(range(free, free + job.gpus), job.workload, job.seed)
            free += job.gpus
    plant.set_limit_w(np.arange(0, plant.layout.gpu_count, 2), CAP_W)
    plant.step(ROUND_S)
    return plant


@judged
def measure(*, rounds: int, seed: int) -> tuple[PlantCost, ...]:
    """128 and 1,000 nodes of 8 GPUs."""
    return tuple(_cost(nodes, rounds, seed) for nodes in (128, 1_000))


def _cost(nodes: int, rounds: int, seed: int) -> PlantCost:
    plant = busy_plant(nodes, seed)
    steps = ROUND_S / plant.substep_s
    took_s = []
    for _ in range(rounds):
        began_s = time.process_time()
        plant.step(ROUND_S)
        took_s.append((time.process_time() - began_s) / steps)
    middle_s = statistics.median(took_s)
    return PlantCost(
        gpus=plant.layout.gpu_count,
        nodes=nodes,
        step_us_p50=round(middle_s * 1e6, 1),
        times_real_time=round(plant.substep_s / middle_s, 1),
    )
