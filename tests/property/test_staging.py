"""Which nodes fetch data: never above a cache, never without what tasks read, enough where there
is room, and what is on its way stays."""

from hypothesis import given
from hypothesis import strategies as st

from wattline_protocol.ids import NodeId
from wattline_scheduler.core.admission.staging import (
    MOST_NODES,
    SPARE,
    NodeStage,
    Place,
    Staged,
    stage,
)

VERSIONS = ("a@v1", "b@v1", "b@v2", "c@v7")
NODES = tuple(NodeId(f"n{number}") for number in range(6))
sizes = st.fixed_dictionaries({name: st.integers(0, 100) for name in VERSIONS})
some = st.frozensets(st.sampled_from(VERSIONS))


@st.composite
def stages(draw: st.DrawFn) -> dict[NodeId, NodeStage]:
    return {
        node: NodeStage(
            room_bytes=draw(st.integers(0, 250)),
            ready=draw(some),
            listed=draw(some),
            most=draw(st.integers(0, 4)),
        )
        for node in NODES
    }


places = st.lists(
    st.builds(Place, st.sampled_from(NODES), st.integers(0, 3), st.integers(0, 8)),
    unique_by=lambda place: place.node,
    max_size=6,
)
jobs = st.lists(
    st.builds(
        Staged,
        st.lists(st.sampled_from(VERSIONS), min_size=1, max_size=3, unique=True).map(tuple),
        st.integers(1, 3),
        st.integers(1, 9),
        places,
    ),
    max_size=4,
)


@given(jobs=jobs, nodes=stages(), sizes=sizes)
def test_no_list_is_above_its_cache_and_each_chosen_node_has_the_whole_data(
    jobs: list[Staged], nodes: dict[NodeId, NodeStage], sizes: dict[str, int]
) -> None:
    chosen = stage(jobs, nodes, sizes)
    for one in nodes.values():
        assert sum(sizes[version] for version in one.versions) <= one.room_bytes
        assert len(one.versions) <= one.most
    for job, at in zip(jobs, chosen, strict=True):
        assert set(at) <= {place.node for place in job.places}
        assert len(at) <= max(SPARE * job.nodes, min(job.tasks, MOST_NODES))
        assert all(nodes[node].versions.keys() >= set(job.versions) for node in at)


@given(job=jobs.filter(bool).map(lambda found: found[0]), nodes=stages(), sizes=sizes)
def test_a_first_job_gets_its_nodes_where_they_have_room(
    job: Staged, nodes: dict[NodeId, NodeStage], sizes: dict[str, int]
) -> None:
    size = sum(sizes[version] for version in job.versions)

    def has_room(place: Place) -> bool:
        node = nodes[place.node]
        return size <= node.room_bytes and len(job.versions) <= node.most

    able = [place for place in job.places if has_room(place)]
    (chosen,) = stage([job], nodes, sizes)
    assert len(chosen) >= min(job.nodes, len(able))
    begun = [place for place in able if nodes[place.node].listed.issuperset(job.versions)]
    if any(place.slots for place in able) and len(begun) < SPARE * job.nodes:
        assert any(place.slots for place in able if place.node in chosen)


@given(job=jobs.filter(bool).map(lambda found: found[0]), nodes=stages(), sizes=sizes)
def test_what_was_chosen_stays_when_others_take_its_gpus(
    job: Staged, nodes: dict[NodeId, NodeStage], sizes: dict[str, int]
) -> None:
    (first,) = stage([job], nodes, sizes)
    for one in nodes.values():
        one.listed, one.versions = frozenset(one.versions), {}
    taken = job._replace(places=[place._replace(slots=0, free_gpus=0) for place in job.places])
    (second,) = stage([taken], nodes, sizes)
    assert set(first[: SPARE * job.nodes]) <= set(second) or len(first) > SPARE * job.nodes
