"""Filters, rank, gangs, promises: each decision of the planner on small snapshots."""

import dataclasses
from pathlib import Path

import pytest

from support.core.sites import PSU_PERMILLE, JobBuilder, job
from support.core.snapshots import offer, same_columns, shape, snapshot, waits
from wattline_protocol.ids import GpuIndex, JobId, NodeId
from wattline_scheduler.plan.check import passing
from wattline_scheduler.plan.cycle import MAX_PLACEMENTS, PATIENCE_S, plan
from wattline_scheduler.plan.mix.fragmentation import mix_of, prices
from wattline_scheduler.plan.model.shape import Shape
from wattline_scheduler.plan.model.snapshot import Placement, QuotaHeadroom, Snapshot, TaskPlace
from wattline_scheduler.plan.model.task_request import ask_of
from wattline_scheduler.plan.search import native_loops
from wattline_scheduler.plan.search.feasible import FILTERS, Filter, refusing
from wattline_scheduler.plan.search.gang import place_gang
from wattline_scheduler.plan.search.quota_headroom import task_held
from wattline_scheduler.plan.search.trial import STEPS_PER_CHOICE, Trial
from wattline_scheduler.plan.wait_reasons import explain, wait_reason

KNEE_KW = (700 * 0.50 * 1.03 - 80) / 0.95 / 1000
"""What placing one GPU at its admission watts takes at the wall."""


def nodes_of(snap: Snapshot, wanted: JobBuilder) -> list[str] | None:
    places = place_gang(Trial(snap), shape(wanted))
    return None if places is None else [place.node for place in places]


REFUSED = [
    ("state", offer("a1", closed="draining"), job()),
    ("gpu type", offer("a1"), job().gpu_type("a100")),
    ("gpu memory", offer("a1"), job().gpu_memory(141)),
    ("gpus", offer("a1", free=3), job().gpus(4)),
    ("cpus", offer("a1", cpus=15), job().gpus(4).cpus_per_gpu(4)),
    ("memory", offer("a1", memory_gib=100), job().memory(101)),
]


def refusal(trial: Trial, wanted: Shape) -> Filter | None:
    """The first filter that refuses the first node."""
    return dict(enumerate(FILTERS)).get(int(refusing(trial, wanted)[0]))


@pytest.mark.parametrize(("name", "node", "wanted"), REFUSED, ids=[name for name, *_ in REFUSED])
def test_each_filter_refuses_for_its_own_reason(name, node, wanted) -> None:  # type: ignore[no-untyped-def]  # a table
    refused = refusal(Trial(snapshot(node)), shape(wanted))
    assert refused is not None
    assert refused.name == name
    assert refusal(Trial(snapshot(offer("a1"))), shape(job())) is None


def test_a_node_with_too_few_working_gpus_says_how_many_it_has() -> None:
    trial, wanted = Trial(snapshot(offer("a1"))), shape(job().gpus(9))
    refused = refusal(trial, wanted)
    assert refused is not None
    assert (refused.name, refused.missing(trial, 0, wanted)) == (
        "gpus",
        "9 GPUs; it has 8 of that kind in service",
    )


@pytest.mark.parametrize(
    ("name", "rooms"),
    [
        ("watts", {"room_kw": KNEE_KW - 0.001}),
        ("watts", {"rack_room_kw": {"a": KNEE_KW - 0.001}}),
        ("cooling", {"zone_kw": KNEE_KW - 0.001}),
    ],
)
def test_watts_are_needed_in_every_domain(name: str, rooms: dict[str, float]) -> None:
    refused = refusal(Trial(snapshot(offer("a1"), **rooms)), shape(job()))  # type: ignore[arg-type]  # a table
    assert refused is not None
    assert refused.name == name


def test_just_enough_watts_are_enough() -> None:
    assert nodes_of(snapshot(offer("a1"), room_kw=KNEE_KW + 0.001), job()) == ["a1"]


def test_a_task_without_gpus_needs_no_watts_but_a_cpu() -> None:
    assert nodes_of(snapshot(offer("a1"), room_kw=-5), job().gpus(0)) == ["a1"]
    assert nodes_of(snapshot(offer("a1", cpus=0)), job().gpus(0)) is None


def test_best_fit_keeps_whole_nodes_free() -> None:
    snap = snapshot(offer("a1"), offer("a2", free=3), offer("a3", free=2))
    assert nodes_of(snap, job().gpus(2)) == ["a3"]
    assert nodes_of(snap, job().gpus(3)) == ["a2"]
    assert nodes_of(snap, job().gpus(4)) == ["a1"]


def test_among_equals_the_domain_with_most_watts_left_wins() -> None:
    snap = snapshot(offer("a1"), offer("b1"), rack_room_kw={"a": 5.0, "b": 9.0})
    assert nodes_of(snap, job()) == ["b1"]


def test_a_gang_goes_to_different_nodes() -> None:
    assert nodes_of(snapshot(offer("a1"), offer("a2")), job().nodes(2)) == ["a1", "a2"]
    assert nodes_of(snapshot(offer("a1")), job().nodes(2)) is None


def test_a_gang_that_does_not_fit_whole_takes_nothing() -> None:
    """Each node would do alone, but their common domain has watts for one task only."""
    trial = Trial(snapshot(offer("a1"), offer("a2"), room_kw=1.5 * KNEE_KW))
    assert place_gang(trial, shape(job().nodes(2))) is None
    assert same_columns(trial.columns, trial.snapshot.columns)


def test_same_rack_takes_the_rack_with_fewest_suitable_nodes() -> None:
    snap = snapshot(*(offer(n) for n in ("a1", "a2", "a3", "b1", "b2", "c1")))
    assert nodes_of(snap, job().nodes(2).same_rack()) == ["b1", "b2"]
    assert nodes_of(snap, job().nodes(3).same_rack()) == ["a1", "a2", "a3"]
    assert nodes_of(snap, job().nodes(4).same_rack()) is None


def test_the_smallest_gpus_that_suffice_are_taken() -> None:
    small, large = offer("a1", gib=40).gpus[:2], offer("a1", gib=80).gpus[2:4]
    mixed = dataclasses.replace(offer("a1"), gpus=(*large, *small), free=(*large, *small))
    places = place_gang(Trial(snapshot(mixed)), shape(job().gpus(2)))
    assert places is not None
    assert places[0].gpus == (0, 1)


# --- the queue --------------------------------------------------------------------------


def with_mix(snap: Snapshot) -> Snapshot:
    """With the prices of a mix, which the compiled loops need."""
    mix = mix_of([(ask_of(w.shape, snap.columns.classes), 1.0) for w in snap.waiting])
    return dataclasses.replace(snap, prices=prices(snap.columns, mix))


def placed(snap: Snapshot) -> list[int]:
    return [placement.job for placement in plan(snap).placements]


def test_the_queue_is_served_in_order() -> None:
    queue = (waits(2, job().gpus(8)), waits(1, job().gpus(8)))
    assert placed(snapshot(offer("a1"), waiting=queue)) == [2]


def test_what_does_not_fit_is_passed_over() -> None:
    queue = (waits(1, job().gpus(8)), waits(2, job().gpus(2)))
    result = plan(snapshot(offer("a1", free=4), waiting=queue))
    assert [p.job for p in result.placements] == [2]
    assert result.waits[JobId(1)] == "waits for gpus: a1: 4 more free GPUs"
    assert not result.promised


def test_a_gang_that_waited_long_is_promised_its_room() -> None:
    queue = (waits(1, job().gpus(8)), waits(2, job().gpus(2)))
    late = snapshot(offer("a1", free=4), waiting=queue, now=PATIENCE_S + 1)
    result = plan(late)
    assert result.placements == ()
    assert result.promised.keys() == {1}
    two = snapshot(offer("a1", free=4), offer("a2", free=2), waiting=queue, now=PATIENCE_S + 1)
    assert placed(two) == [2], "the other node is free for all"
    assert plan(two).placements[0].tasks[0].node == "a2"


@pytest.mark.parametrize("is_compiled", [True, False])
def test_gpus_beside_a_job_that_waits_for_cpus_are_free_for_tasks_without_cpus(
    monkeypatch: pytest.MonkeyPatch, *, is_compiled: bool
) -> None:
    """The promise takes more CPUs and memory than are free: the rest is below 0."""
    if not is_compiled:
        monkeypatch.setattr(native_loops, "LIBRARY", None)
    node = dataclasses.replace(offer("a1"), cpus_free=8, memory_free_bytes=8 * 2**30)
    for wants_more in (job().gpus(1).cpus_per_gpu(16), job().gpus(1).memory(16)):
        queue = (waits(1, wants_more), waits(2, job().gpus(7)), waits(3, job().gpus(1)))
        result = plan(with_mix(snapshot(node, waiting=queue, now=PATIENCE_S + 1)))
        assert result.promised.keys() == {1}
        assert [p.job for p in result.placements] == [2], "one GPU is promised"
        asked = job().gpus(1).cpus_per_gpu(1).memory(1)
        assert not placed(snapshot(node, waiting=(queue[0], waits(2, asked)), now=PATIENCE_S + 1))


def test_watts_are_promised_too() -> None:
    queue = (waits(1, job().gpus(8)), waits(2, job().gpus(1)))
    nodes = (offer("a1"), offer("a2"))
    rooms = {"room_kw": 7.5 * KNEE_KW, "now": PATIENCE_S + 1}
    assert placed(snapshot(*nodes, waiting=queue, **rooms)) == []  # type: ignore[arg-type]  # a table


def test_nothing_is_promised_to_what_could_never_run() -> None:
    queue = (waits(1, job().gpus(9)), waits(2, job().gpus(2)))
    result = plan(snapshot(offer("a1"), waiting=queue, now=PATIENCE_S + 1))
    assert [p.job for p in result.placements] == [2]
    assert not result.promised


def test_a_cycle_stops_at_its_limit_and_says_so() -> None:
    many = tuple(offer(f"a{i}") for i in range(MAX_PLACEMENTS // 8 + 1))
    queue = (waits(1, job(), gangs=MAX_PLACEMENTS), waits(2, job()))
    result = plan(snapshot(*many, waiting=queue))
    assert len(result.placements) == MAX_PLACEMENTS
    assert result.is_cut
    assert not plan(snapshot(offer("a1"), waiting=(waits(1, job()),))).is_cut
    alone = (waits(1, job(), gangs=MAX_PLACEMENTS + 1),)
    assert plan(snapshot(*many, waiting=alone)).is_cut, "also in the middle of one array"


def test_equal_shapes_are_judged_once() -> None:
    queue = tuple(waits(i, job().gpus(8)) for i in range(1_000))
    result = plan(snapshot(offer("a1", free=1), waiting=queue))
    assert len(result.waits) == 1_000
    assert not result.is_cut, "a thousand hopeless jobs cost one evaluation"


def test_who_asks_no_less_than_a_task_that_no_node_took_is_not_placed_in_vain() -> None:
    less, more = job().gpus(8), job().gpus(8).cpus_per_gpu(2).priority(0)
    site = offer("a1", free=1)
    after_less = plan(snapshot(site, waiting=(waits(1, less), waits(2, more))))
    after_more = plan(snapshot(site, waiting=(waits(1, more), waits(2, less))))
    assert set(after_less.waits) == set(after_more.waits) == {1, 2}
    assert after_more.effort == after_less.effort + STEPS_PER_CHOICE, "who asks for less may fit"


# --- check and explain ------------------------------------------------------------------


def one(node: str, *gpus: int) -> Placement:
    place = TaskPlace(NodeId(node), tuple(GpuIndex(i) for i in gpus))
    return Placement(JobId(1), 0, (place,))


def passes(snap: Snapshot, wanted: JobBuilder, *placements: Placement) -> int:
    """How many of them may be applied."""
    trial = Trial(snap)
    found = passing(trial, [(each, waits(1, wanted)) for each in placements])
    assert same_columns(trial.columns, snap.columns), "and nothing is taken"
    return len(found)


@pytest.mark.parametrize(
    "placement",
    [one("a1", 6), one("z9", 0), one("a1", 0, 1), one("a2", 0), Placement(JobId(1), 0, ())],
)
def test_a_placement_that_no_longer_fits_is_rejected(placement: Placement) -> None:
    a1 = offer("a1")
    held = dataclasses.replace(a1, free=a1.gpus[:6])
    snap = snapshot(held, offer("a2", closed="draining"))
    assert not passes(snap, job(), placement)
    assert passes(snap, job(), one("a1", 5), placement, one("a1", 4)) == 2, "the others start"


def test_two_placements_on_one_gpu_are_rejected() -> None:
    snap = snapshot(offer("a1"))
    assert passes(snap, job(), one("a1", 0), one("a1", 1)) == 2
    assert passes(snap, job(), one("a1", 0), one("a1", 0), one("a1", 0)) == 1


def test_a_gang_over_two_racks_is_rejected_where_one_is_wanted() -> None:
    spread = Placement(JobId(1), 0, one("a1", 0).tasks + one("b1", 0).tasks)
    snap = snapshot(offer("a1"), offer("b1"))
    assert passes(snap, job().nodes(2), spread)
    assert not passes(snap, job().nodes(2).same_rack(), spread)


def test_an_explanation_counts_per_filter_what_was_missing() -> None:
    snap = snapshot(
        offer("a1", closed="draining"),
        offer("a2", free=2),
        offer("a3", free=1),
        offer("b1", gpu_name="NVIDIA A100"),
        offer("b2"),
    )
    view = explain(snap, JobId(7), "PENDING", "", shape(job().gpus(4).nodes(2).gpu_type("h100")))
    assert [(r.filter, r.nodes_refused) for r in view.refusals] == [
        ("state", 1),
        ("gpu type", 1),
        ("gpus", 2),
    ]
    assert "a2: 2 more free GPUs" in view.refusals[2].missing
    assert (view.nodes_total, view.nodes_feasible, view.nodes_needed) == (5, 1, 2)


def test_an_explanation_names_the_labels_that_are_missing() -> None:
    nodes = (offer("a1"), offer("a2", labels={"fabric": "roce"}))
    snap = snapshot(*nodes, offer("a3", labels={"fabric": "ib", "disk": "nvme"}))
    view = explain(snap, JobId(7), "PENDING", "", shape(job().labels(fabric="ib")))
    assert [(r.filter, r.nodes_refused, r.missing) for r in view.refusals] == [
        ("labels", 2, "a1: fabric=ib; it has no labels; a2: fabric=ib; it has fabric=roce")
    ]
    assert nodes_of(snap, job().labels(fabric="ib")) == ["a3"]
    assert nodes_of(snap, job().nodes(2).labels(fabric="ib")) is None
    assert not passes(snap, job().labels(fabric="ib"), one("a1", 0))


def test_an_explanation_names_the_domain_without_watts() -> None:
    snap = snapshot(offer("a1"), rack_room_kw={"a": 0.1})
    view = explain(snap, JobId(7), "PENDING", "", shape(job()))
    assert view.refusals[0].filter == "watts"
    assert "pdu-a" in view.refusals[0].missing


def test_a_gang_that_fits_one_by_one_is_told_what_the_rest_of_it_lacks() -> None:
    """And the trial is as it was: what is asked next is answered alike."""
    snap = snapshot(offer("a1"), offer("a2"), rack_room_kw={"a": 0.5})
    trial, pair = Trial(snap), shape(job().nodes(2))
    said = wait_reason(trial, pair)
    assert said.startswith("1 of 2 nodes found; waits for watts: a2: ")
    assert said.endswith("in pdu-a")
    assert wait_reason(trial, pair) == said
    view = explain(snap, JobId(7), "PENDING", "", pair)
    assert (view.refusals[-1].filter, view.refusals[-1].missing) == ("gang", said)


def test_an_explanation_says_when_only_the_rack_is_missing() -> None:
    view = explain(
        snapshot(offer("a1"), offer("b1")),
        JobId(7),
        "PENDING",
        "",
        shape(job().nodes(2).same_rack()),
    )
    assert view.refusals[-1].filter == "rack"


def test_a_job_goes_where_its_gpus_stay_cool_unless_that_breaks_up_a_whole_node() -> None:
    warm = dataclasses.replace(offer("a1", free=1), warmth=3)
    assert nodes_of(snapshot(warm, offer("b1", free=1)), job()) == ["b1"]
    assert nodes_of(snapshot(warm, offer("b1")), job()) == ["a1"]


def test_the_coolest_gpus_are_taken_in_the_order_of_their_index() -> None:
    node = offer("a1")
    cool_last = dataclasses.replace(node, free=tuple(reversed(node.free)))
    assert Trial(snapshot(cool_last)).place(0, shape(job().gpus(2))).gpus == (6, 7)


def test_a_gang_goes_to_one_rack_where_one_can_take_it() -> None:
    names = ("a1", "b1", "b2", "c1", "d1", "d2", "d3")
    snap = snapshot(*(offer(n) for n in names))
    assert nodes_of(snap, job().gpus(8).nodes(3)) == ["d1", "d2", "d3"]
    assert nodes_of(snap, job().gpus(8).nodes(2)) == ["b1", "b2"]
    spread = nodes_of(snap, job().gpus(8).nodes(4))
    assert spread is not None, "it is wanted, not required"
    assert {"d1", "d2", "d3"} <= set(spread) or {"b1", "b2"} <= set(spread)


def test_replicas_of_a_service_are_kept_apart() -> None:
    nodes = tuple(offer(name) for name in ("a1", "a2", "b1", "c1"))
    queue = (dataclasses.replace(waits(1, job(), gangs=2), replicas=(NodeId("b1"),)),)
    result = plan(snapshot(*nodes, waiting=queue))
    placed_on = [placement.tasks[0].node for placement in result.placements]
    assert placed_on == ["a1", "c1"], "each in another rack"
    packed = plan(snapshot(*nodes, waiting=(waits(1, job(), gangs=3),)))
    assert {placement.tasks[0].node for placement in packed.placements} == {"a1"}


def quota_of_watts(mw: int) -> QuotaHeadroom:
    return QuotaHeadroom("queue cool", most_mw=mw)


def mixed(mw: int, *, a100s_free: int = 8) -> Snapshot:
    """Eight H100s, eight A100s of 400 W, and a quota; the job may run on either."""
    h100s = offer("a1")
    a100s = offer("b1", gpu_name="NVIDIA A100", free=a100s_free, cap_max_mw=300_000)
    waiting = dataclasses.replace(waits(1, job().gpus(8)), quotas=(0,))
    return dataclasses.replace(
        snapshot(h100s, a100s, waiting=(waiting,)), quotas=(quota_of_watts(mw),)
    )


def test_where_gpus_differ_a_gang_goes_where_its_quota_suffices() -> None:
    hungry, frugal = (
        task_held(o.gpus, shape(job().gpus(8)), PSU_PERMILLE).mw for o in mixed(1).nodes
    )
    assert frugal < hungry
    (placed,) = plan(mixed(frugal)).placements
    assert [task.node for task in placed.tasks] == ["b1"]
    assert len(plan(mixed(hungry)).placements) == 1
    result = plan(mixed(frugal, a100s_free=4))
    assert not result.placements
    assert result.waits[JobId(1)].endswith("the free GPUs need more than is left")
    assert "can never start" in plan(mixed(frugal - 1)).waits[JobId(1)]


@pytest.mark.parametrize(
    ("name", "word", "is_one"),
    [
        ("NVIDIA A100-SXM4-80GB", "a100", True),
        ("NVIDIA A100-SXM4-80GB", "A100-SXM4-80GB", True),
        ("NVIDIA A100-SXM4-80GB", "a10", False),
        ("NVIDIA L40S", "l40", False),
        ("NVIDIA H100 80GB HBM3", "h100 80gb", True),
    ],
)
def test_a_type_is_a_whole_word_of_the_name(name: str, word: str, is_one: bool) -> None:
    snap = snapshot(offer("a1", gpu_name=name), waiting=(waits(1, job().gpus(1).gpu_type(word)),))
    assert bool(placed(snap)) == is_one


def test_the_compiled_loops_are_used_where_they_were_built() -> None:
    folder = Path(native_loops.__file__).parent
    assert (native_loops.LIBRARY is not None) == any(folder.glob("_loops*.so"))
