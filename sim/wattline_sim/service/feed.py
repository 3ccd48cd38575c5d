"""The feed's watts among all GPUs: the scheduler's allocator over the rows of the site."""

import numpy as np

from wattline_protocol.ids import GpuIndex
from wattline_scheduler.power.allocation.fleet_columns import Fleet
from wattline_scheduler.power.demand.node_load import GpuLoad, NodeLoad
from wattline_scheduler.power.topology.domains import Domains
from wattline_sim.facility.building import Building
from wattline_sim.facility.plant.dice import Floats, Indexes

MW_PER_W = 1_000
_SERVICE, _TRAINING = 1, 0
"""Priorities."""


class Feed:
    """Caps of all GPUs that fit every row."""

    def __init__(self, building: Building) -> None:
        self._nodes, self._per_node = building.site.nodes, building.layout.gpus_per_node
        model = building.layout.gpu_model
        self._floor_mw = model.limit_min_w * MW_PER_W
        self._ceiling_mw = model.limit_max_w * MW_PER_W
        domains = Domains(building.site)
        self._fleet = Fleet(domains.matrix)
        self._free_mw = domains.grantable_in_rows()
        self._wanted: dict[int, list[int]] = {}

    def caps_w(self, wanted_mw: Indexes) -> Floats:
        """A cap for each GPU. Those that want milliwatts come first and get no more; the others,
        which want 0, share the rest."""
        for at, wanted in enumerate(wanted_mw.reshape(-1, self._per_node).tolist()):
            if self._wanted.get(at) != wanted:
                self._wanted[at] = wanted
                self._put(at, wanted)
        allocation = self._fleet.allocate(self._free_mw)
        given = [allocation.gpu_mw[self._fleet.gpu_entries(node.id)] for node in self._nodes]
        return np.asarray(np.concatenate(given) / MW_PER_W)

    def _put(self, at: int, wanted: list[int]) -> None:
        node = self._nodes[at]
        loads = tuple(self._load(GpuIndex(gpu), mw) for gpu, mw in enumerate(wanted))
        base_mw, permille = node.non_gpu_worst_mw, node.psu_efficiency_permille
        self._fleet.put(NodeLoad(node.id, base_mw, permille, loads))

    def _load(self, gpu: GpuIndex, wanted_mw: int) -> GpuLoad:
        floor_mw, most_mw = self._floor_mw, wanted_mw or self._ceiling_mw
        asked_mw = wanted_mw or floor_mw
        priority = _SERVICE if wanted_mw else _TRAINING
        return GpuLoad(gpu, floor_mw, asked_mw, asked_mw, most_mw, most_mw, priority)
