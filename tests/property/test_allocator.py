"""The allocator keeps every domain, serves priorities strictly and wastes nothing."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from support.power_strategies import loads, sites
from wattline_protocol.ids import DomainId
from wattline_protocol.site import Site
from wattline_scheduler.power.allocator import ROUNDING_MW, Allocation, allocate
from wattline_scheduler.power.domains import Domains
from wattline_scheduler.power.loads import NodeLoad

TOLERANCE_MW = 100
"""Rounding down once per GPU and level, for at most 24 GPUs."""


@st.composite
def cases(draw: st.DrawFn) -> tuple[Site, list[NodeLoad]]:
    site = draw(sites())
    return site, draw(loads(site))


def solve(site: Site, nodes: list[NodeLoad]) -> tuple[Domains, dict[DomainId, int], Allocation]:
    domains = Domains(site)
    free = {d: domains.usable_mw(d) for d in domains.by_id}
    return domains, free, allocate(nodes, domains.of, free)


def spent(domains: Domains, allocation: Allocation, domain: DomainId) -> int:
    return sum(allocation.lease_mw[n] for n in domains.members[domain])


@given(cases())
def test_every_domain_is_kept_unless_its_floors_do_not_fit(
    case: tuple[Site, list[NodeLoad]],
) -> None:
    site, nodes = case
    domains, free, allocation = solve(site, nodes)
    floor = {node.node: node.floor_mw for node in nodes}
    for domain in domains.by_id:
        floors = sum(floor[n] for n in domains.members[domain])
        if domain in allocation.short:
            assert floors + ROUNDING_MW * len(domains.members[domain]) > free[domain]
            assert spent(domains, allocation, domain) == floors
        else:
            assert spent(domains, allocation, domain) <= free[domain]


@given(cases())
def test_each_gpu_stays_between_floor_and_ceiling(case: tuple[Site, list[NodeLoad]]) -> None:
    site, nodes = case
    _, _, allocation = solve(site, nodes)
    for node in nodes:
        for gpu in node.gpus:
            share = allocation.gpu_mw[node.node][gpu.index]
            assert gpu.floor_mw <= share <= gpu.ceiling_mw


@given(cases())
def test_nobody_below_target_could_have_more(case: tuple[Site, list[NodeLoad]]) -> None:
    """Efficiency: an unsatisfied GPU sits below a domain that is full."""
    site, nodes = case
    domains, free, allocation = solve(site, nodes)
    for node in nodes:
        for gpu in node.gpus:
            if allocation.gpu_mw[node.node][gpu.index] < gpu.target_mw - TOLERANCE_MW:
                left = min(free[d] - spent(domains, allocation, d) for d in domains.of[node.node])
                slack = TOLERANCE_MW + ROUNDING_MW * len(nodes) + _cost_rounding(domains, nodes)
                assert left <= slack, (left, gpu)


@given(cases())
def test_a_lower_priority_never_takes_from_a_higher_one(
    case: tuple[Site, list[NodeLoad]],
) -> None:
    """Without the low-priority targets the high ones get the same."""
    site, nodes = case
    _, _, allocation = solve(site, nodes)
    _, _, without = solve(site, [_quiet(node, below=75) for node in nodes])
    for node in nodes:
        for gpu in node.gpus:
            if gpu.priority == 75:
                share = min(allocation.gpu_mw[node.node][gpu.index], gpu.target_mw)
                alone = min(without.gpu_mw[node.node][gpu.index], gpu.target_mw)
                assert abs(share - alone) <= TOLERANCE_MW


@given(cases())
def test_it_is_deterministic(case: tuple[Site, list[NodeLoad]]) -> None:
    site, nodes = case
    assert solve(site, nodes)[2] == solve(site, nodes)[2]


def _quiet(node: NodeLoad, below: int) -> NodeLoad:
    gpus = tuple(
        gpu
        if gpu.priority >= below
        else replace(gpu, target_mw=gpu.floor_mw, ceiling_mw=gpu.floor_mw)
        for gpu in node.gpus
    )
    return NodeLoad(node.node, node.base_mw, node.psu_efficiency_permille, gpus)


def _cost_rounding(domains: Domains, nodes: list[NodeLoad]) -> int:
    """Cost per GPU watt is rounded up to a permille: at most 0.1 % of what was handed out."""
    del domains
    return sum(node.ceiling_mw - node.floor_mw for node in nodes) // 1000
