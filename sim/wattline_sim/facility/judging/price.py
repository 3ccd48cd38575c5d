"""What it costs that leases are booked at the worst case (I2): booked against drawn watts."""

from dataclasses import dataclass

import numpy as np

from wattline_protocol.site.wall_power import wall_mw
from wattline_sim.facility.building import usable_mw
from wattline_sim.facility.run import WARM_UP_S, Facility
from wattline_sim.facility.works import NONE


@dataclass(slots=True)
class Price:
    """Looks on every second at a run of uncapped work, and says how many GPUs such work fills."""

    seconds: int = 0
    nodes: int = 0
    usable_mw: int = 0
    booked_mw: float = 0.0
    """Sum over the seconds, as `booked_mw` has it."""
    drawn_mw: float = 0.0
    """Sum over the seconds of the true draw."""

    def watch(self, facility: Facility) -> None:
        """One second."""
        if facility.now_s <= WARM_UP_S:
            return
        building = facility.building
        self.nodes = len(building.site.nodes)
        self.usable_mw = next(usable_mw(d) for d in building.site.domains if d.id == building.top)
        self.seconds += 1
        self.booked_mw += booked_mw(facility)
        self.drawn_mw += float(facility.plant.domain_wall_w[0]) * 1000

    @property
    def nodes_by_booking(self) -> int:
        """The fleet whose mean booking is what the top domain may give."""
        return self._fitting(self.booked_mw)

    @property
    def nodes_by_drawing(self) -> int:
        """The fleet whose mean draw is what the top domain may give: no controller holds more."""
        return self._fitting(self.drawn_mw)

    def _fitting(self, sum_mw: float) -> int:
        return int(self.usable_mw * self.seconds * self.nodes / sum_mw) if self.seconds else 0


def booked_mw(facility: Facility) -> int:
    """The least that leases cover while this work runs uncapped: a GPU with work at its draw, but
    no cap is below the smallest there is; all but the GPUs at its worst."""
    plant, nodes = facility.plant, facility.building.site.nodes
    least_w = float(plant.cards.model.limit_min_w)
    is_busy = (facility.works.of_gpu != NONE) & ~plant.is_frozen
    drawn_w = plant.power_avg_1s_w
    gpus_w = np.where(is_busy, np.maximum(drawn_w, least_w), drawn_w)
    per_node_w = gpus_w.reshape(len(nodes), -1).sum(axis=1)
    return sum(
        wall_mw(node.non_gpu_worst_mw + round(float(w) * 1000), node.psu_efficiency_permille)
        for node, w in zip(nodes, per_node_w, strict=True)
    )
