"""Which nodes a fleet has, what they draw, and the budgets above them.

The inventory is a table of `gpu_model, gpu_capacity_num, cpu_num, node_name`, one line a node. It
says nothing of racks: nodes of one model stand together in the order of the file, as many in a
rack as hold `GPUS_PER_RACK` GPUs or `NODES_PER_RACK` nodes, and `RACKS_PER_ROW` racks in a row.

A budget is the share of the sum of all GPUs' maximum watts (TDP) that may be drawn, and on top of
it all that the hosts draw apart from their GPUs. It holds for the site; rows and racks are built
with a little more (`SLACK`), since not all of them peak together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from wattline_lab.replay.jobs.trace import TraceUnreadable, rows
from wattline_protocol.ids import DomainId, GpuIndex, NodeId
from wattline_protocol.site.model import Domain, Node, Site
from wattline_protocol.site.wall_power import wall_mw
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.power.demand.models import node_model

GPUS_PER_RACK, NODES_PER_RACK, RACKS_PER_ROW = 32, 32, 16

SLACK = {"site": 0.0, "row": 0.1, "rack": 0.2}
"""Beyond the site's share, at most all of the TDP."""

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Model:
    """Watts of one kind of GPU."""

    driver_name: str
    """Says which curve of performance under a cap it follows."""
    cap_min_w: int
    cap_max_w: int
    idle_w: int
    memory_gib: int


MODELS = {
    "A10": Model("NVIDIA A10-24GB", 100, 150, 20, 24),
    "A100-SXM4-80GB": Model("NVIDIA A100-SXM4-80GB", 100, 400, 64, 80),
    "A800-SXM4-80GB": Model("NVIDIA A800-SXM4-80GB", 100, 400, 64, 80),
    "H800": Model("NVIDIA H800", 200, 700, 90, 80),
    "GPU-series-1": Model("GPU-series-1 (as L40S)", 100, 350, 35, 48),
    "GPU-series-2": Model("GPU-series-2 (as A100)", 100, 400, 64, 80),
}
"""By their names in the inventory. A800 and H800 are A100 and H100 with slower links. The two
series are not named by the publisher; what they are counted as is our assumption."""


@dataclass(frozen=True, slots=True)
class Host:
    """One line of the inventory."""

    name: str
    model: str
    gpus: int
    cpus: int


def read_hosts(path: Path) -> list[Host]:
    """Nodes by model, otherwise in the order of the file. Raises TraceUnreadable."""
    try:
        hosts = [
            Host(
                name=row["node_name"],
                model=row["gpu_model"],
                gpus=int(row["gpu_capacity_num"]),
                cpus=int(row["cpu_num"]),
            )
            for row in rows(path)
        ]
    except (KeyError, ValueError) as error:
        raise TraceUnreadable(f"{path}: not a list of nodes: {error}") from error
    if not hosts:
        raise TraceUnreadable(f"{path}: no nodes")
    unknown = sorted({host.model for host in hosts} - set(MODELS))
    if unknown:
        known = ", ".join(MODELS)
        raise TraceUnreadable(f"{path}: no watts are known of {', '.join(unknown)}, of {known} are")
    return sorted(hosts, key=lambda host: (host.model, -host.gpus))


def gpus_of(host: Host) -> tuple[GpuInfo, ...]:
    """Its GPUs as its agent would describe them."""
    model = MODELS[host.model]
    return tuple(
        GpuInfo(
            index=GpuIndex(index),
            uuid=f"{host.name}-{index}",
            name=model.driver_name,
            memory_bytes=model.memory_gib * GIB,
            cap_min_mw=model.cap_min_w * 1000,
            cap_default_mw=model.cap_max_w * 1000,
            cap_max_mw=model.cap_max_w * 1000,
            idle_mw=model.idle_w * 1000,
            overshoot_permille=1000,
            can_cap=True,
            managed=True,
        )
        for index in range(host.gpus)
    )


def site_of(hosts: Sequence[Host], budget_share: float) -> Site:
    """The fleet below its budgets."""
    nodes: list[Node] = []
    below: dict[DomainId, list[Node]] = {}
    parents: dict[DomainId, DomainId | None] = {DomainId("site"): None}
    for number, rack in enumerate(_racks(hosts)):
        chain = (
            DomainId(f"rack-{number}"),
            DomainId(f"row-{number // RACKS_PER_ROW}"),
            DomainId("site"),
        )
        parents |= {chain[1]: chain[2], chain[0]: chain[1]}
        for host in rack:
            node = _node(host, chain[0])
            nodes.append(node)
            for domain in chain:
                below.setdefault(domain, []).append(node)
    domains = tuple(
        Domain(domain, "power", parent, _budget_mw(domain, below[domain], budget_share), 1000)
        for domain, parent in parents.items()
    )
    return Site("fleet", "tcp://127.0.0.1:1", "tcp://127.0.0.1:2", domains, tuple(nodes))


def _racks(hosts: Sequence[Host]) -> Iterator[list[Host]]:
    for (_, gpus), alike in groupby(hosts, key=lambda host: (host.model, host.gpus)):
        size = max(1, min(NODES_PER_RACK, GPUS_PER_RACK // max(1, gpus)))
        of_kind = list(alike)
        for first in range(0, len(of_kind), size):
            yield of_kind[first : first + size]


def _node(host: Host, rack: DomainId) -> Node:
    server = node_model(MODELS[host.model].driver_name)
    worst_mw = round((server.base_w + server.cpu_w) * 1000)
    psu_permille = round(server.psu_efficiency * 1000)
    return Node(
        id=NodeId(f"node-{host.name}"),
        rack=str(rack),
        inputs=(rack,),
        cooling_zone=None,
        non_gpu_worst_mw=worst_mw,
        psu_efficiency_permille=psu_permille,
        nameplate_mw=wall_mw(worst_mw + _tdp_mw(host), psu_permille),
    )


def _tdp_mw(host: Host) -> int:
    return MODELS[host.model].cap_max_w * 1000 * host.gpus


def _budget_mw(domain: DomainId, below: Sequence[Node], share: float) -> int:
    level = domain.partition("-")[0]
    kept_share = min(1.0, share + SLACK[level])
    total_mw = 0
    for node in below:
        host_mw = wall_mw(node.non_gpu_worst_mw, node.psu_efficiency_permille)
        total_mw += host_mw + round(kept_share * (node.nameplate_mw - host_mw))
    return total_mw
