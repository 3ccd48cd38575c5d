"""A machine hall for the allocator: five levels of power, two of cooling, limits drawn to bind.

Site, feeds, rows of racks, racks and the nodes' own limits; a room with zones that lie across the
racks. Every limit lies around what its nodes would draw at the mean demand, so that some of each
kind bind and others do not (the shape of the allocator check in the nvPAX setting).
"""

import numpy as np

from wattline_protocol.ids import DomainId, NodeId
from wattline_protocol.site.model import Domain, DomainKind, Node, Site
from wattline_scheduler.power.allocation.allocator import GpuColumns, NodeColumns
from wattline_scheduler.power.topology.domains import Domains
from wattline_scheduler.power.topology.matrix import Ints

GPUS_PER_NODE = 8
BASE_MW = 1_000_000
PSU_PERMILLE = 940
FLOOR_MW = 100_000
DEMAND_MW = (100_000, 700_000)
CEILING_MW = 714_000
PRIORITIES = (25, 50, 75)

NODES_PER_RACK, NODES_PER_ROW, NODES_PER_FEED, NODES_PER_ZONE = 4, 64, 512, 32

TIGHTNESS = {
    "site": (1.0, 1.02),
    "feed": (1.0, 1.1),
    "row": (1.0, 1.15),
    "rack": (0.9, 1.3),
    "node": (0.8, 1.5),
    "room": (1.0, 1.05),
    "zone": (0.95, 1.2),
}
"""Limits as shares of the mean draw below them; drawn evenly between these."""


def hall(gpus: int, seed: int) -> Site:
    """A site with so many GPUs, a multiple of 8."""
    count = gpus // GPUS_PER_NODE
    draw = np.random.default_rng(seed)
    mean_mw = (BASE_MW + GPUS_PER_NODE * sum(DEMAND_MW) // 2) * 1000 // PSU_PERMILLE
    domains: list[Domain] = []

    def add(name: str, parent: str | None, nodes: int) -> DomainId:
        level = name.partition("-")[0]
        kind: DomainKind = "cooling" if level in ("room", "zone") else "power"
        limit_mw = int(nodes * mean_mw * draw.uniform(*TIGHTNESS[level]))
        above = None if parent is None else DomainId(parent)
        domains.append(Domain(DomainId(name), kind, above, limit_mw, 1000))
        return DomainId(name)

    add("site", None, count)
    add("room", None, count)
    for name, size, parent, parent_size in (
        ("feed", NODES_PER_FEED, "site", 0),
        ("row", NODES_PER_ROW, "feed", NODES_PER_FEED),
        ("rack", NODES_PER_RACK, "row", NODES_PER_ROW),
        ("node", 1, "rack", NODES_PER_RACK),
        ("zone", NODES_PER_ZONE, "room", 0),
    ):
        for first in range(0, count, size):
            above = f"{parent}-{first // parent_size}" if parent_size else parent
            add(f"{name}-{first // size}", above, min(size, count - first))
    nodes = [
        Node(
            id=NodeId(f"n{at}"),
            rack=f"rack-{at // NODES_PER_RACK}",
            inputs=(DomainId(f"node-{at}"),),
            cooling_zone=DomainId(f"zone-{at // NODES_PER_ZONE}"),
            non_gpu_worst_mw=BASE_MW,
            psu_efficiency_permille=PSU_PERMILLE,
            nameplate_mw=CEILING_MW * GPUS_PER_NODE + BASE_MW,
        )
        for at in range(count)
    ]
    return Site("hall", "tcp://127.0.0.1:1", "tcp://127.0.0.1:2", tuple(domains), tuple(nodes))


def busy(domains: Domains, draw: np.random.Generator) -> tuple[NodeColumns, GpuColumns]:
    """Every GPU at work, with a demand and a priority drawn at random."""
    nodes = len(domains.matrix.nodes)
    gpus = nodes * GPUS_PER_NODE

    def all_gpus(value: int) -> Ints:
        return np.full(gpus, value, dtype=np.int64)

    return (
        NodeColumns(
            base_mw=np.full(nodes, BASE_MW, dtype=np.int64),
            psu_efficiency_permille=np.full(nodes, PSU_PERMILLE, dtype=np.int64),
            lowest_mw=np.zeros(nodes, dtype=np.int64),
            is_set=np.ones(nodes, dtype=np.bool_),
        ),
        GpuColumns(
            node=np.repeat(np.arange(nodes), GPUS_PER_NODE),
            floor_mw=all_gpus(FLOOR_MW),
            asked_mw=all_gpus(FLOOR_MW),
            useful_mw=all_gpus(FLOOR_MW),
            target_mw=draw.integers(*DEMAND_MW, gpus),
            ceiling_mw=all_gpus(CEILING_MW),
            priority=draw.choice(PRIORITIES, gpus),
            weight_permille=all_gpus(1000),
            gain=draw.uniform(0.1, 1.0, gpus),
        ),
    )
