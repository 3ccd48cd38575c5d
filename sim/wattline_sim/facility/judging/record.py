"""What a run looked like over time: budget, committed and drawn watts of the top domain."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wattline_protocol.job.spec import PRIORITIES
from wattline_sim.facility.works import NONE

if TYPE_CHECKING:
    from wattline_sim.facility.run import Facility


@dataclass(frozen=True, slots=True)
class Point:
    """Means over a stretch of time, kilowatts at the wall of the top power domain."""

    at_s: float
    budget_kw: float
    committed_kw: float
    """As the scheduler's books say; NaN while no scheduler runs."""
    most_kw: float
    """The highest 1 s average of the stretch."""
    high_kw: float
    """GPUs of high priority; GPU watts are shown at the wall by the mean efficiency."""
    low_kw: float
    idle_kw: float
    other_kw: float


class Recorder:
    """Told every second; keeps one point for each `every_s`."""

    def __init__(self, every_s: int) -> None:
        self._every_s = every_s
        self._rows: list[list[float]] = []
        self.points: list[Point] = []

    def second(self, facility: "Facility") -> None:
        """Take one second; after `every_s` of them, a point."""
        self._rows.append(_row(facility))
        if len(self._rows) < self._every_s:
            return
        rows = np.array(self._rows)
        budget, committed, wall, high, low, idle = rows.mean(axis=0).tolist()
        self._rows.clear()
        self.points.append(
            Point(
                at_s=facility.now_s,
                budget_kw=budget,
                committed_kw=committed,
                most_kw=float(rows[:, 2].max()),
                high_kw=high,
                low_kw=low,
                idle_kw=idle,
                other_kw=max(0.0, wall - high - low - idle),
            )
        )


def _row(facility: "Facility") -> list[float]:
    plant, works, cluster = facility.plant, facility.works, facility.office.cluster
    wall_w = float(plant.domain_wall_avg_1s_w[0])
    inner_w = float(plant.hosts.other_w.sum() + plant.power_avg_1s_w.sum())
    at_wall = float(plant.node_wall_avg_1s_w.sum()) / max(inner_w, 1.0) / 1000.0
    gpu_kw = plant.power_avg_1s_w * at_wall
    priority = works.priority_of_gpus()
    is_busy = works.of_gpu != NONE
    is_high = is_busy & (priority > PRIORITIES["normal"])
    committed = np.nan
    if cluster is not None:
        committed = cluster.state.books.committed_in(facility.building.top) / 1e6
    return [
        float(facility.score.budget_w[0]) / 1000.0,
        committed,
        wall_w / 1000.0,
        float(gpu_kw[is_high].sum()),
        float(gpu_kw[is_busy & ~is_high].sum()),
        float(gpu_kw[~is_busy].sum()),
    ]
