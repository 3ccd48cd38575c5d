"""Who gets which watts: floors, then strict priority, then max-min satisfaction; pure.

Every node gets its floor. What is left goes to the highest priority first; inside a priority all
GPUs rise together in satisfaction (allocation / target) until a domain is full, then those below
that domain stop and the rest rise on (progressive filling, Bertsekas & Gallager, Data Networks,
6.5.2). When every target is met the rest is spread the same way up to the ceilings, as room to
ramp. Floors that do not fit are given all the same and reported as `short`: whom to pause is the
caller's decision. Works in exact integers up to one division per level, rounded down.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wattline_protocol.ids import DomainId, GpuIndex, NodeId
from wattline_scheduler.power.loads import GpuLoad, NodeLoad

ROUNDING_MW = 2
"""Wall milliwatts kept free per node, because each node's lease is rounded up once."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """Leases that fit every domain together, except domains named in `short`."""

    lease_mw: dict[NodeId, int]
    gpu_mw: dict[NodeId, dict[GpuIndex, int]]
    """Watts of each busy GPU, overshoot included."""
    short: dict[DomainId, int]
    """Domains whose floors alone do not fit, and by how much."""


@dataclass(slots=True)
class _Rising:
    """A GPU whose share still grows."""

    node: NodeId
    gpu: GpuLoad
    goal_mw: int
    has_mw: int
    cost_permille: int
    """Wall milliwatts per 1000 GPU milliwatts."""
    domains: tuple[DomainId, ...]


class _Filling:
    """The state of one allocation: what each GPU has and what each domain has left."""

    def __init__(
        self,
        nodes: Sequence[NodeLoad],
        domains_of: Mapping[NodeId, tuple[DomainId, ...]],
        free_mw: Mapping[DomainId, int],
    ) -> None:
        self.left_mw = dict(free_mw)
        self.gpus = [
            _Rising(
                node=node.node,
                gpu=gpu,
                goal_mw=gpu.target_mw,
                has_mw=gpu.floor_mw,
                cost_permille=-(-1_000_000 // node.psu_efficiency_permille),
                domains=domains_of[node.node],
            )
            for node in nodes
            for gpu in node.gpus
        ]
        for node in nodes:
            for domain in domains_of[node.node]:
                self.left_mw[domain] -= node.floor_mw + ROUNDING_MW

    def raise_to_goals(self) -> None:
        """Strict priority: each level takes what it can before the next lower one."""
        for priority in sorted({g.gpu.priority for g in self.gpus}, reverse=True):
            self._fill([g for g in self.gpus if g.gpu.priority == priority])

    def _fill(self, level: list[_Rising]) -> None:
        rising = [g for g in level if g.goal_mw > g.has_mw and self._has_room(g)]
        while rising:
            below: dict[DomainId, list[_Rising]] = {}
            for g in rising:
                for domain in g.domains:
                    below.setdefault(domain, []).append(g)
            share = {d: satisfaction(gs, self.left_mw[d]) for d, gs in below.items()}
            reached = min(share.values())
            # What is full stops; the others keep what they had and rise on with the rest.
            full = {d for d, s in share.items() if s <= reached}
            done = [g for g in rising if reached >= 1.0 or not full.isdisjoint(g.domains)]
            for g in done:
                self._give(g, min(g.goal_mw, max(g.has_mw, int(g.goal_mw * reached))))
            finished = {id(g) for g in done}
            rising = [g for g in rising if id(g) not in finished and self._has_room(g)]

    def _has_room(self, g: _Rising) -> bool:
        return all(self.left_mw[domain] > 0 for domain in g.domains)

    def _give(self, g: _Rising, share_mw: int) -> None:
        cost_mw = -(-(share_mw - g.has_mw) * g.cost_permille // 1000)
        for domain in g.domains:
            self.left_mw[domain] -= cost_mw
        g.has_mw = share_mw


def satisfaction(rising: Iterable[_Rising], left_mw: int) -> float:
    """Largest s in 0..1 with sum of cost x (max(has, s x goal) - has) <= `left_mw`.

    The sum is piecewise linear in s: GPU i contributes nothing below has/goal and
    goal x cost per unit above it. Walk the break points upwards until the rest is used up.
    """
    points = sorted((g.has_mw / g.goal_mw, g.goal_mw * g.cost_permille / 1000) for g in rising)
    reached, slope, left = 0.0, 0.0, float(max(0, left_mw))
    for start, goal_cost in points:
        if slope > 0.0:
            needed = slope * (start - reached)
            if needed > left:
                return reached + left / slope
            left -= needed
        reached, slope = start, slope + goal_cost
    return min(1.0, reached + left / slope) if slope > 0.0 else 1.0


def allocate(
    nodes: Sequence[NodeLoad],
    domains_of: Mapping[NodeId, tuple[DomainId, ...]],
    free_mw: Mapping[DomainId, int],
) -> Allocation:
    """Divide `free_mw` (wall milliwatts per domain, for these nodes alone) among the nodes.

    Never infeasible: what cannot be covered stands in `Allocation.short`. Deterministic.
    """
    filling = _Filling(nodes, domains_of, free_mw)
    short = {domain: -left for domain, left in filling.left_mw.items() if left < 0}
    filling.raise_to_goals()
    for g in filling.gpus:
        g.goal_mw = g.gpu.ceiling_mw
    filling.raise_to_goals()
    gpu_mw: dict[NodeId, dict[GpuIndex, int]] = {node.node: {} for node in nodes}
    for g in filling.gpus:
        gpu_mw[g.node][g.gpu.index] = g.has_mw
    lease_mw = {node.node: node.wall_mw(sum(gpu_mw[node.node].values())) for node in nodes}
    return Allocation(lease_mw=lease_mw, gpu_mw=gpu_mw, short=short)
