"""Divisions that can be checked by hand."""

import numpy as np

from wattline_bench.oracle import oracle
from wattline_protocol.ids import DomainId, GpuIndex, NodeId
from wattline_protocol.site.model import Domain, DomainKind, Node, Site
from wattline_scheduler.power.allocation.allocator import Allocation
from wattline_scheduler.power.allocation.fleet_columns import Fleet
from wattline_scheduler.power.demand.node_load import GpuLoad, NodeLoad
from wattline_scheduler.power.topology.domains import Domains

W = 1000


def gpu(index: int, target_w: int, priority: int = 50, **more: float) -> GpuLoad:
    return GpuLoad(
        index=GpuIndex(index),
        floor_mw=100 * W,
        asked_mw=int(more.get("asked_w", 100)) * W,
        useful_mw=int(more.get("keep_w", more.get("asked_w", 100))) * W,
        target_mw=target_w * W,
        ceiling_mw=int(more.get("ceiling_w", target_w)) * W,
        priority=priority,
        weight_permille=int(more.get("weight", 1000)),
        gain=more.get("gain", 0.0),
    )


class Hall:
    """Nodes that draw nothing beside their GPUs, without losses in their supplies."""

    def __init__(self, **budgets_w: int) -> None:
        self.domains = tuple(
            Domain(DomainId(name), self._kind(name), None, watts * W, 1000)
            for name, watts in budgets_w.items()
        )
        self.nodes: list[Node] = []
        self.loads: list[NodeLoad] = []

    @staticmethod
    def _kind(name: str) -> DomainKind:
        return "cooling" if name.startswith("zone") else "power"

    def node(self, rack: str, zone: str | None, *gpus: GpuLoad) -> None:
        name = NodeId(f"n{len(self.nodes) + 1}")
        cooling = None if zone is None else DomainId(zone)
        self.nodes.append(Node(name, "r", (DomainId(rack),), cooling, 0, 1000, 9_000 * W))
        self.loads.append(NodeLoad(name, 0, 1000, gpus))

    def site(self) -> Site:
        return Site("hall", "tcp://x:1", "tcp://x:2", self.domains, tuple(self.nodes))

    def divide(self) -> tuple[Fleet, Allocation]:
        domains = Domains(self.site())
        fleet = Fleet(domains.matrix, self.loads)
        return fleet, fleet.allocate(domains.grantable_in_rows())

    def watts(self) -> list[list[int]]:
        """Of each GPU, by node, to the nearest watt."""
        fleet, allocation = self.divide()
        given = [allocation.gpu_mw[fleet.gpu_entries(node.id)].tolist() for node in self.nodes]
        return [[round(mw / W) for mw in gpus] for gpus in given]


def test_what_a_zone_takes_from_one_node_its_rack_gives_to_the_other() -> None:
    """Two families that cross: the rack's level must be found again once the zone's is known."""
    hall = Hall(rack_a=800, rack_b=2_000, zone_x=2_000, zone_y=500)
    hall.node("rack_a", "zone_x", gpu(0, 600))
    hall.node("rack_a", "zone_y", gpu(0, 600))
    hall.node("rack_b", "zone_y", gpu(0, 600))
    assert hall.watts() == [[550], [250], [250]]


def test_a_chain_of_crossing_rows_settles() -> None:
    """Each row's level follows from its neighbours', from both ends."""
    count = 12
    racks = {f"rack_{at}": 650 + 53 * at % 200 for at in range(count)}
    zones = {f"zone_{at}": 620 + 71 * at % 230 for at in range(count + 1)}
    hall = Hall(**racks, **zones)
    for at in range(count):
        hall.node(f"rack_{at}", f"zone_{at}", gpu(0, 600))
        hall.node(f"rack_{at}", f"zone_{at + 1}", gpu(0, 600))
    fleet, allocation = hall.divide()
    free_mw = Domains(hall.site()).grantable_in_rows()
    best = oracle(fleet.matrix, fleet.nodes, fleet.gpus, free_mw)
    assert np.abs(allocation.gpu_mw - best).max() < W


def test_priorities_are_strict_and_equals_share_alike() -> None:
    hall = Hall(rack=1_000)
    hall.node("rack", None, gpu(0, 500, 75), gpu(1, 600, 50), gpu(2, 300, 50), gpu(3, 600, 25))
    # 500 to the first, 100 to the last; 400 are left for 900 of demand.
    assert hall.watts() == [[500, 267, 133, 100]]


def test_weights_are_shares_inside_a_priority() -> None:
    hall = Hall(rack=600)
    hall.node("rack", None, gpu(0, 600, weight=2000), gpu(1, 600, weight=1000))
    assert hall.watts() == [[400, 200]]


def test_what_users_asked_for_goes_before_the_targets_of_higher_priorities() -> None:
    hall = Hall(rack=900)
    hall.node("rack", None, gpu(0, 700, 75, asked_w=400), gpu(1, 600, 25, asked_w=350))
    assert hall.watts() == [[550, 350]]


def test_what_makes_sense_to_keep_does_not() -> None:
    hall = Hall(rack=900)
    hall.node("rack", None, gpu(0, 700, 75, keep_w=400), gpu(1, 600, 25, keep_w=350))
    _, allocation = hall.divide()
    assert hall.watts() == [[700, 200]]
    assert not allocation.missing(), "both keeps fit: nobody is paused for a higher one's moment"


def test_spare_watts_go_where_they_help_most() -> None:
    hall = Hall(rack=1_000)
    hall.node(
        "rack",
        None,
        gpu(0, 300, 75, ceiling_w=600, gain=0.2),
        gpu(1, 300, 25, ceiling_w=600, gain=0.9),
    )
    assert hall.watts() == [[400, 600]]


def test_floors_that_do_not_fit_are_given_and_told() -> None:
    hall = Hall(rack=150)
    hall.node("rack", None, gpu(0, 300), gpu(1, 300))
    _, allocation = hall.divide()
    assert hall.watts() == [[100, 100]]
    assert allocation.short() == {0: 50 * W}


def test_keeps_that_do_not_fit_are_told() -> None:
    hall = Hall(rack=500)
    hall.node("rack", None, gpu(0, 600, 75, keep_w=300), gpu(1, 600, 25, keep_w=300))
    _, allocation = hall.divide()
    assert hall.watts() == [[400, 100]]
    assert 100 * W <= int(allocation.missing_mw[0]) <= 100 * W + 10
