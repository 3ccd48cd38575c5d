"""Random sites and loads for property tests of the power engine."""

import msgspec
from hypothesis import strategies as st

from wattline_protocol.data.site_data import SiteData
from wattline_protocol.ids import DomainId, GpuIndex, NodeId, UserName
from wattline_protocol.site.containers import Containers
from wattline_protocol.site.model import (
    Account,
    Domain,
    FairShare,
    InputShare,
    Node,
    Queue,
    Quota,
    RunAs,
    Site,
    Weights,
)
from wattline_scheduler.power.demand.node_load import GpuLoad, NodeLoad

_RUN_AS = RunAs({UserName("ada"): "ada.l", UserName("ci"): "build"}, "same")


@st.composite
def sites(draw: st.DrawFn, max_nodes: int = 6) -> Site:
    """A power tree and a cooling tree of random shape over some nodes, some with two inputs."""
    power = [DomainId(f"p{i}") for i in range(draw(st.integers(1, 5)))]
    cooling = [DomainId(f"c{i}") for i in range(draw(st.integers(1, 3)))]
    domains = [
        Domain(
            id=name,
            kind="power" if name in power else "cooling",
            parent=family[draw(st.integers(0, at - 1))] if at else None,
            rating_mw=draw(st.integers(1_000_000, 40_000_000)),
            derate_permille=draw(st.sampled_from([800, 1000])),
            fixed_load_mw=draw(st.sampled_from([0, 200_000])),
            foreign_reserve_mw=draw(st.sampled_from([0, 500_000])),
        )
        for family in (power, cooling)
        for at, name in enumerate(family)
    ]
    inputs = st.lists(st.sampled_from(power), min_size=1, max_size=2, unique=True)
    nodes = [
        Node(
            id=NodeId(f"n{i}"),
            rack=f"r{i % 2}",
            inputs=tuple(draw(inputs)),
            cooling_zone=draw(st.sampled_from([*cooling, None])),
            non_gpu_worst_mw=1_000_000,
            psu_efficiency_permille=draw(st.sampled_from([900, 940, 960])),
            nameplate_mw=7_000_000,
        )
        for i in range(draw(st.integers(1, max_nodes)))
    ]
    parents = {domain.id: domain.parent for domain in domains}
    nodes = [draw(_with_shares(node, parents)) for node in nodes]
    return Site(
        name="random",
        agent_endpoint="tcp://127.0.0.1:1",
        client_endpoint="tcp://127.0.0.1:2",
        domains=tuple(domains),
        nodes=tuple(nodes),
        open_jobs_per_user=draw(st.integers(1, 10**9)),
        fair_share=draw(_FAIR_SHARES),
        run_as=draw(st.sampled_from([None, RunAs(), _RUN_AS])),
        pass_env=draw(st.sampled_from([(), ("HTTP_PROXY", "NCCL_*")])),
        containers=draw(st.sampled_from([Containers(), Containers("runc", "/i", ("/d:ro",))])),
        data=draw(st.sampled_from([SiteData(), SiteData("/d", ("s3.lab:1",), ("/e",))])),
        weights=draw(_WEIGHTS),
        accounts=draw(_ACCOUNTS),
        queues=draw(_QUEUES),
    )


_FAIR_SHARES = st.builds(
    FairShare, st.sampled_from([3600.0, 604_800.0]), st.floats(0, 10), st.floats(0, 10)
)
_WEIGHTS = st.builds(Weights, st.floats(0, 10), watts=st.sampled_from([0.0, 0.5]))
_QUOTAS = st.builds(
    Quota,
    st.integers(0, 9),
    st.integers(0, 10**8),
    st.integers(0, 10**6).map(float),
    open_jobs=st.integers(0, 10**9),
)
_ACCOUNTS = st.one_of(
    st.just(()),
    st.tuples(
        st.builds(Account, st.just("research"), quota=_QUOTAS, users=st.just(("ada", "bob"))),
        st.builds(Account, st.just("vision"), st.just("research"), st.floats(0.1, 9)),
    ),
)
_QUEUES = st.one_of(st.just(()), st.tuples(st.builds(Queue, st.just("night"), _QUOTAS)))


def _with_shares(node: Node, parents: dict[DomainId, DomainId | None]) -> st.SearchStrategy[Node]:
    """Some nodes with redundant inputs divide their load; none where one input feeds the other."""
    if len(node.inputs) == 1 or any(
        _is_above(one, other, parents) for one in node.inputs for other in node.inputs
    ):
        return st.just(node)
    halves = tuple(
        InputShare(share, {other: after})
        for share, other, after in zip((500, 600), reversed(node.inputs), (1000, 1000), strict=True)
    )
    return st.sampled_from([node, msgspec.structs.replace(node, shares=halves)])


def _is_above(one: DomainId, other: DomainId, parents: dict[DomainId, DomainId | None]) -> bool:
    at = parents[other]
    while at is not None and at != one:
        at = parents[at]
    return at == one


@st.composite
def loads(draw: st.DrawFn, site: Site) -> list[NodeLoad]:
    """For each node of the site, some busy GPUs with floors, targets and priorities."""
    return [
        NodeLoad(
            node=node.id,
            base_mw=node.non_gpu_worst_mw,
            psu_efficiency_permille=node.psu_efficiency_permille,
            gpus=tuple(_gpu(draw, i) for i in range(draw(st.integers(0, 4)))),
        )
        for node in site.nodes
    ]


def _gpu(draw: st.DrawFn, index: int) -> GpuLoad:
    floor_mw = draw(st.integers(100_000, 204_000))
    ceiling_mw = draw(st.integers(floor_mw, 714_000))
    target_mw = draw(st.integers(floor_mw, ceiling_mw))
    useful_mw = draw(st.sampled_from([floor_mw, (floor_mw + target_mw) // 2]))
    return GpuLoad(
        index=GpuIndex(index),
        floor_mw=floor_mw,
        asked_mw=draw(st.sampled_from([floor_mw, (floor_mw + useful_mw) // 2, useful_mw])),
        useful_mw=useful_mw,
        target_mw=target_mw,
        ceiling_mw=ceiling_mw,
        priority=draw(st.sampled_from([25, 50, 75])),
        weight_permille=draw(st.sampled_from([1000, 1000, 2500])),
        gain=draw(st.sampled_from([0.0, 0.3, 0.7])),
    )
