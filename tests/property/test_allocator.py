"""The allocator keeps every row, serves priorities strictly and gives what linear programs give."""

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from support.core.tight_sites import tight_site
from support.strategies.power import loads, sites
from wattline_bench.oracle import oracle
from wattline_protocol.ids import DomainId
from wattline_protocol.site.model import Node, Site
from wattline_scheduler.power.allocation.allocator import ROUNDING_MW, Allocation
from wattline_scheduler.power.allocation.fleet_columns import Fleet
from wattline_scheduler.power.allocation.split import split
from wattline_scheduler.power.demand.node_load import NodeLoad
from wattline_scheduler.power.topology.domains import Domains
from wattline_scheduler.power.topology.matrix import Floats, Ints

TOLERANCE_MW = 100
"""Rounding kept free per node and row, over at most 40 GPUs."""


@dataclass(frozen=True)
class Case:
    """A site, what its nodes want, and what the allocator makes of it."""

    domains: Domains
    fleet: Fleet
    free_mw: Ints
    allocation: Allocation

    @classmethod
    def of(cls, site: Site, nodes: list[NodeLoad], free_mw: Ints | None = None) -> "Case":
        domains = Domains(site)
        fleet = Fleet(domains.matrix, nodes)
        free = domains.grantable_in_rows() if free_mw is None else free_mw
        return cls(domains, fleet, free, fleet.allocate(free))

    @property
    def used_mw(self) -> Ints:
        return self.fleet.matrix.in_rows(self.allocation.lease_mw)

    @property
    def floors_mw(self) -> Ints:
        return self.fleet.matrix.in_rows(self.fleet.floor_mw())

    def satisfaction(self, gpu_mw: Floats | Ints) -> Floats:
        """Of each GPU that wants anything; others count as satisfied."""
        target = np.maximum(self.fleet.gpus.target_mw, 1)
        share: Floats = np.minimum(gpu_mw / target, 1.0)
        return np.where(self.fleet.gpus.target_mw > 0, share, 1.0)

    def level(self, gpu_mw: Floats | Ints) -> Floats:
        """Satisfaction over weight; infinite where nothing is wanted any more."""
        share = self.satisfaction(gpu_mw)
        return np.where(share < 1.0, share * 1000.0 / self.fleet.gpus.weight_permille, np.inf)


@st.composite
def small(draw: st.DrawFn) -> tuple[Site, list[NodeLoad]]:
    site = draw(sites())
    return site, draw(loads(site))


def inputs() -> st.SearchStrategy[tuple[Site, list[NodeLoad]]]:
    """Mostly sites where limits of every kind bind; some that are odd instead."""
    tight = st.integers(0, 2**32 - 1).map(tight_site)
    return st.one_of(tight, tight, tight, small())


cases = inputs().map(lambda drawn: Case.of(*drawn))


@given(cases)
def test_every_row_is_kept_unless_its_floors_do_not_fit(case: Case) -> None:
    short = case.allocation.short_mw
    assert (short == np.maximum(case.floors_mw - case.free_mw, 0)).all()
    assert (case.used_mw <= case.free_mw)[short == 0].all()
    assert (case.used_mw == case.floors_mw)[short > 0].all()


@given(inputs())
def test_after_any_loss_the_other_inputs_carry_everything(
    drawn: tuple[Site, list[NodeLoad]],
) -> None:
    """Worked out from the site file alone, one loss after the other."""
    site = drawn[0]
    case = Case.of(*drawn)
    domains, leases = case.domains, case.allocation.lease_mw
    chains = site.chains()
    short = {domains.rows[row].domain for row in np.flatnonzero(case.allocation.short_mw)}
    for lost in [None, *domains.by_id]:
        load_mw = dict.fromkeys(domains.by_id, 0)
        for node in site.nodes:
            lease_mw = int(leases[case.fleet.matrix.at[node.id]])
            for domain, permille in _carried(node, chains, lost).items():
                load_mw[domain] += -(-lease_mw * permille // 1000)
        for domain in domains.by_id:
            if domain not in short:
                assert load_mw[domain] <= domains.usable_mw(domain), (domain, lost)


def _carried(
    node: Node, chains: dict[DomainId, tuple[DomainId, ...]], lost: DomainId | None
) -> dict[DomainId, int]:
    """Permille of a node's watts that each domain carries after a loss."""
    gone = [name for name in node.inputs if lost in chains[name]]
    if lost is None or len(gone) == len(node.inputs):
        gone = []  # what lost every input draws nothing, and may be back at any moment
    carried: dict[DomainId, int] = {}
    for at, name in enumerate(node.inputs):
        permille = 1000
        if node.shares:
            share = node.shares[at]
            permille = share.after(lost, gone) if lost and gone else share.share_permille
        for domain in chains[name] if name not in gone else ():
            carried[domain] = min(1000, carried.get(domain, 0) + permille)
    return carried


@given(cases)
def test_each_gpu_stays_between_floor_and_ceiling(case: Case) -> None:
    gpus, gpu_mw = case.fleet.gpus, case.allocation.gpu_mw
    assert (gpus.floor_mw <= gpu_mw).all()
    assert (gpu_mw <= gpus.ceiling_mw).all()


@settings(max_examples=150, deadline=None)
@given(cases)
def test_it_gives_what_successive_linear_programs_give(case: Case) -> None:
    """Per priority the same sorted satisfaction, within 0.1 %."""
    fleet, gpus = case.fleet, case.fleet.gpus
    ideal = oracle(fleet.matrix, fleet.nodes, gpus, case.free_mw)
    for priority in np.unique(gpus.priority):
        some = gpus.priority == priority
        ours = np.sort(case.satisfaction(case.allocation.gpu_mw)[some])
        best = np.sort(case.satisfaction(ideal)[some])
        assert np.abs(ours - best).max() <= 1e-3, (priority, ours, best)


@given(cases)
def test_a_gpu_below_its_target_is_told_the_full_row_that_stops_it(case: Case) -> None:
    fleet, allocation = case.fleet, case.allocation
    left = case.free_mw - case.used_mw
    for at in np.flatnonzero(allocation.gpu_mw < fleet.gpus.target_mw - TOLERANCE_MW):
        row = int(allocation.row[at])
        assert row >= 0
        assert left[row] <= TOLERANCE_MW + ROUNDING_MW * len(fleet.matrix.nodes)
        node = fleet.matrix.nodes[fleet.gpus.node[at]]
        assert row in [number for number, _ in case.domains.rows_of[node]]


@given(inputs())
def test_a_lower_priority_never_takes_from_a_higher_one(
    drawn: tuple[Site, list[NodeLoad]],
) -> None:
    """Without the low-priority wishes the high ones get the same."""
    site, nodes = drawn
    case, without = Case.of(site, nodes), Case.of(site, [_quiet(node, 75) for node in nodes])
    high = case.fleet.gpus.priority == 75
    ours, alone = (np.minimum(c.allocation.gpu_mw, c.fleet.gpus.target_mw) for c in (case, without))
    assert (np.abs(ours - alone)[high] <= TOLERANCE_MW).all()


@given(inputs(), st.data())
def test_a_larger_budget_never_lowers_the_least_satisfaction_of_the_top_priority(
    drawn: tuple[Site, list[NodeLoad]], data: st.DataObject
) -> None:
    """Over weight, as it is divided. What users asked for comes first and is another matter."""
    site, wanting = drawn
    nodes = [_nothing_asked(node) for node in wanting]
    before = Case.of(site, nodes)
    more = before.free_mw.copy()
    more[data.draw(st.integers(0, len(more) - 1))] += data.draw(st.integers(1, 9_000_000))
    after = Case.of(site, nodes, more)
    top = before.fleet.gpus.priority == before.fleet.gpus.priority.max()
    least = [c.level(c.allocation.gpu_mw)[top].min() for c in (before, after)]
    assert least[1] >= least[0] - 1e-4


@given(inputs())
def test_it_is_deterministic_and_the_same_again_costs_nothing(
    drawn: tuple[Site, list[NodeLoad]],
) -> None:
    one, other = Case.of(*drawn), Case.of(*drawn)
    assert (one.allocation.gpu_mw == other.allocation.gpu_mw).all()
    assert one.fleet.allocate(one.free_mw.copy()) is one.allocation


@given(cases)
def test_a_node_divides_its_lease_as_the_allocator_did(case: Case) -> None:
    for node, load in case.fleet.loads.items():
        lease_mw = int(case.allocation.lease_mw[case.fleet.matrix.at[node]])
        theirs = case.allocation.gpu_mw[case.fleet.gpu_entries(node)]
        ours = split(load, lease_mw)
        assert np.abs(np.array([ours[g.index] for g in load.gpus]) - theirs).max(initial=0) <= 10
        assert load.wall_mw(sum(ours.values())) <= max(lease_mw, load.floor_mw)


def _nothing_asked(node: NodeLoad) -> NodeLoad:
    return replace(node, gpus=tuple(replace(gpu, asked_mw=gpu.floor_mw) for gpu in node.gpus))


def _quiet(node: NodeLoad, below: int) -> NodeLoad:
    """The GPUs of lower priority want no more than their users asked for."""
    gpus = tuple(
        gpu
        if gpu.priority >= below
        else replace(gpu, useful_mw=gpu.asked_mw, target_mw=gpu.asked_mw, ceiling_mw=gpu.asked_mw)
        for gpu in node.gpus
    )
    return replace(node, gpus=gpus)
