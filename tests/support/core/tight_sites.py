"""Sites whose budgets lie between floors and targets, so that each kind of limit binds."""

import numpy as np

from wattline_protocol.ids import DomainId, GpuIndex, NodeId
from wattline_protocol.site.model import Domain, DomainKind, InputShare, Node, Site
from wattline_scheduler.power.demand.node_load import GpuLoad, NodeLoad
from wattline_scheduler.power.topology.domains import Domains

MAX_LEVELS = 5
PRIORITIES = (25, 50, 75)


def tight_site(seed: int) -> tuple[Site, list[NodeLoad]]:
    """A random site of up to five levels, with redundant inputs, cooling zones and its loads."""
    draw = np.random.default_rng(seed)
    domains = [*_tree(draw, "p", "power", MAX_LEVELS), *_tree(draw, "c", "cooling", 3)]
    nodes = tuple(_node(draw, at, domains) for at in range(int(draw.integers(2, 11))))
    priorities = PRIORITIES[: int(draw.integers(1, 4))]
    loads = [_load(draw, node, priorities) for node in nodes]
    site = Site("tight", "tcp://127.0.0.1:1", "tcp://127.0.0.1:2", tuple(domains), nodes)
    return _with_budgets(draw, site, loads), loads


def _tree(draw: np.random.Generator, letter: str, kind: DomainKind, levels: int) -> list[Domain]:
    tree = [Domain(DomainId(f"{letter}0"), kind, None, 1, 1000)]
    depth = {tree[0].id: 1}
    for at in range(1, int(draw.integers(1, 10))):
        above = [one.id for one in tree if depth[one.id] < levels]
        parent = above[int(draw.integers(0, len(above)))]
        tree.append(Domain(DomainId(f"{letter}{at}"), kind, parent, 1, 1000))
        depth[tree[-1].id] = depth[parent] + 1
    return tree


def _node(draw: np.random.Generator, at: int, domains: list[Domain]) -> Node:
    power = [one.id for one in domains if one.kind == "power"]
    cooling = [one.id for one in domains if one.kind == "cooling"]
    count = min(len(power), int(draw.integers(1, 3)))
    inputs = tuple(power[i] for i in draw.choice(len(power), count, replace=False))
    shares: tuple[InputShare, ...] = ()
    if count == 2 and draw.random() < 0.7:
        shares = (InputShare(500, {inputs[1]: 1000}), InputShare(600))
    return Node(
        id=NodeId(f"n{at}"),
        rack="r",
        inputs=inputs,
        cooling_zone=cooling[int(draw.integers(0, len(cooling)))],
        non_gpu_worst_mw=int(draw.integers(200_000, 1_000_000)),
        psu_efficiency_permille=int(draw.choice([900, 940, 960])),
        nameplate_mw=7_000_000,
        shares=shares,
    )


def _load(draw: np.random.Generator, node: Node, priorities: tuple[int, ...]) -> NodeLoad:
    gpus = tuple(_gpu(draw, at, priorities) for at in range(int(draw.integers(0, 5))))
    return NodeLoad(node.id, node.non_gpu_worst_mw, node.psu_efficiency_permille, gpus)


def _gpu(draw: np.random.Generator, index: int, priorities: tuple[int, ...]) -> GpuLoad:
    floor_mw = int(draw.integers(100_000, 205_000))
    target_mw = int(draw.integers(floor_mw, 714_000))
    useful_mw = int(draw.integers(floor_mw, target_mw + 1)) if draw.random() < 0.5 else floor_mw
    return GpuLoad(
        index=GpuIndex(index),
        floor_mw=floor_mw,
        asked_mw=useful_mw if draw.random() < 0.5 else floor_mw,
        useful_mw=useful_mw,
        target_mw=target_mw,
        ceiling_mw=int(draw.integers(target_mw, 714_001)),
        priority=int(draw.choice(priorities)),
        weight_permille=int(draw.choice([500, 1000, 1000, 2500])),
        gain=float(draw.choice([0.0, 0.3, 0.7])),
    )


def _with_budgets(draw: np.random.Generator, site: Site, loads: list[NodeLoad]) -> Site:
    """Each budget lies somewhere from the floors below it to a little above the targets."""
    domains, load_of = Domains(site), {load.node: load for load in loads}
    budgets: list[Domain] = []
    lowest, highest = (-0.05, 1.2) if draw.random() < 0.5 else (0.3, 0.9)
    for domain in site.domains:
        floor_mw = target_mw = 0
        for node in domains.members[domain.id]:
            load = load_of[node]
            floor_mw += load.floor_mw
            target_mw += load.wall_mw(sum(gpu.target_mw for gpu in load.gpus))
        part = draw.uniform(lowest, highest)
        mw = max(1, int(floor_mw + part * (target_mw - floor_mw)))
        budgets.append(Domain(domain.id, domain.kind, domain.parent, mw, 1000))
    return Site(site.name, site.agent_endpoint, site.client_endpoint, tuple(budgets), site.nodes)
