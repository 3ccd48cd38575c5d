"""What is really so against what was promised: limits in the plant against the books."""

import numpy as np

from wattline_protocol.ids import Now
from wattline_protocol.site.model import Site
from wattline_protocol.site.wall_power import wall_mw
from wattline_scheduler.core.cluster import Cluster
from wattline_scheduler.core.invariants import InvariantBroken, check_invariants
from wattline_scheduler.power.books.books import Books
from wattline_sim.facility.host import SimHost
from wattline_sim.facility.plant import Plant
from wattline_sim.facility.works import NONE, FloatArray, Works

MAX_VIOLATIONS = 50
"""Kept of a run; more would only repeat."""
IDLE_MARGIN = 1.1
"""A GPU without work at most this far above its own idle draw is at idle."""


class Watch:
    """Collects violations instead of raising: a run tells all that went wrong."""

    def __init__(self, site: Site, plant: Plant, works: Works) -> None:
        self._site, self._plant, self._works = site, plant, works
        self._idle_w: FloatArray = plant.power_avg_1s_w.copy()
        self.violations: list[str] = []
        self.checks = 0

    def note(self, text: str) -> None:
        """A broken rule."""
        if len(self.violations) < MAX_VIOLATIONS:
            self.violations.append(text)

    def cheap(self, cluster: Cluster, at_s: float) -> None:
        """Each step: no domain's books above its budget without a cause on record (I1, I4)."""
        state = cluster.state
        self.checks += 1
        for domain in state.domains.by_id:
            over_mw = -state.books.headroom_mw(domain)
            if over_mw > 0 and domain not in state.overruns:
                self.note(f"{at_s:.1f} s: I1: {domain} is committed {over_mw / 1e6:.2f} kW over")

    def full(self, cluster: Cluster, now: Now, hosts: list[SimHost], at_s: float) -> None:
        """Each 10 s: every invariant, and what every node could draw against the books (I2)."""
        try:
            check_invariants(cluster, now)
        except InvariantBroken as broken:
            self.note(f"{at_s:.1f} s: {broken}")
        self.limits(cluster.state.books, hosts, at_s)

    def limits(self, books: Books, hosts: list[SimHost], at_s: float) -> None:
        """No node's limits allow more than is committed for it."""
        could_mw = self.could_draw_mw(hosts)
        for at, node in enumerate(self._site.nodes):
            committed_mw = books.committed_mw(node.id)
            if could_mw[at] > committed_mw:
                could_kw, committed_kw = could_mw[at] / 1e6, committed_mw / 1e6
                self.note(
                    f"{at_s:.1f} s: I2: {node.id} could draw {could_kw:.3f} kW, "
                    f"committed are {committed_kw:.3f} kW"
                )

    def could_draw_mw(self, hosts: list[SimHost]) -> list[int]:
        """Most each host can draw under the limits in force, by what runs on it; 0 while dark."""
        plant = self._plant
        is_busy = (self._works.of_gpu != NONE) & ~plant.is_frozen
        at_idle = ~is_busy & (plant.power_avg_1s_w <= self._idle_w * IDLE_MARGIN)
        allowed_w = np.where(at_idle, plant.power_avg_1s_w, plant.limit_w)
        per_node = allowed_w.reshape(len(hosts), -1).sum(axis=1)
        return [
            wall_mw(
                node.non_gpu_worst_mw + round(float(per_node[at]) * 1000),
                node.psu_efficiency_permille,
            )
            if hosts[at].is_powered
            else 0
            for at, node in enumerate(self._site.nodes)
        ]
