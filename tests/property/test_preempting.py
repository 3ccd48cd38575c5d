"""Whom a gang sends away, on arbitrary nodes: enough, nobody for nothing, and found with little."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from support.core.running import on_nodes, runs, with_work
from support.core.sites import job
from support.core.snapshots import offer, same_columns, shape, snapshot
from wattline_protocol.job.spec import PRIORITIES
from wattline_scheduler.plan.model.shape import Shape
from wattline_scheduler.plan.model.snapshot import RunningGang, Snapshot
from wattline_scheduler.plan.policies.node_release import NodeRelease
from wattline_scheduler.plan.policies.preempt import choose, suffices
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.time_slices import at_once


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Snapshot, list[RunningGang], Shape]:
    """Nodes of two to eight GPUs, most of them held by gangs of one to three nodes."""
    sizes = draw(st.lists(st.integers(2, 8), min_size=1, max_size=5))
    left = [[*range(draw(st.integers(0, size)))] for size in sizes]
    free = [size - len(held) for size, held in zip(sizes, left, strict=True)]
    busy: list[RunningGang] = []
    while any(left):
        nodes = [at for at, gpus in enumerate(left) if gpus]
        nodes = draw(st.lists(st.sampled_from(nodes), min_size=1, max_size=3, unique=True))
        count = draw(st.integers(1, min(len(left[at]) for at in nodes)))
        places = [(at, [left[at].pop() for _ in range(count)]) for at in nodes]
        priority, lost = draw(st.sampled_from(["low", "normal"])), draw(st.floats(0, 9))
        busy.append(runs(len(busy), *places, priority=priority, lost=lost))
    nodes_and_free = enumerate(zip(sizes, free, strict=True))
    # GPUs are held from the first one on, as `runs` counts them, and the last ones are free.
    offers = [offer(f"n{at}", rack="r", gpus=size, free=n) for at, (size, n) in nodes_and_free]
    cpus = [
        sum(t.cpus for one in busy for t in one.tasks if t.at == at) for at in range(len(sizes))
    ]
    offers = [
        replace(one, cpus_free=one.cpus - used) for one, used in zip(offers, cpus, strict=True)
    ]
    wanted = job().priority(PRIORITIES["high"]).gpus(draw(st.integers(1, 8)))
    wanted = wanted.nodes(draw(st.integers(1, len(sizes))))
    return with_work(snapshot(*offers), busy), busy, shape(wanted)


@given(scenes(), st.data())
def test_what_is_counted_by_hand_is_what_the_trial_says(
    scene: tuple[Snapshot, list[RunningGang], Shape], data: st.DataObject
) -> None:
    snap, busy, wanted = scene
    trial = Trial(snap)
    nodes = [NodeRelease(trial, at, wanted) for at in range(len(snap.nodes))]
    gone = data.draw(st.lists(st.sampled_from(busy), unique_by=id)) if busy else []
    back = data.draw(st.lists(st.sampled_from(gone), unique_by=id)) if gone else []
    for node in nodes:
        for one in gone:
            node.remove(one)
        for one in back:
            node.restore(one)
    for task in (task for one in gone if one not in back for task in one.tasks):
        trial.take_away(task)
    assert [n.fits for n in nodes] == [trial.fits_node(at, wanted) for at in range(len(nodes))]


@given(scenes())
def test_who_goes_is_enough_and_everybody_of_them_is_needed(
    scene: tuple[Snapshot, list[RunningGang], Shape],
) -> None:
    snap, busy, wanted = scene
    trial = Trial(snap)
    choice = at_once(choose(trial, wanted, on_nodes(busy)))
    assert same_columns(trial.columns, snap.columns)
    if choice is None:
        able = [sum(g.index >= 0 for g in one.gpus) >= wanted.gpus for one in snap.nodes]
        assert sum(able) < wanted.nodes, "all of it may go, so nodes that are large enough would do"
        return
    assert suffices(trial, wanted, choice.nodes, choice.victims)
    for one in choice.victims:
        rest = [other for other in choice.victims if other is not one]
        assert not suffices(trial, wanted, choice.nodes, rest)


def effort_of(wanted: Shape, nodes: int, busy: Sequence[RunningGang]) -> tuple[int, int]:
    """Victims, and the steps that it took to find them."""
    offers = [replace(offer(f"n{at}", rack=f"r{at}", free=0), cpus_free=0) for at in range(nodes)]
    trial = Trial(with_work(snapshot(*offers), busy))
    by_node = [[one for one in busy if one.tasks[0].at == at] for at in range(nodes)]
    choice = at_once(choose(trial, wanted, lambda at: by_node[at]))
    assert choice is not None
    return len(choice.victims), trial.effort


def test_the_effort_of_a_search_grows_with_victims_not_with_their_square() -> None:
    high = job().priority(PRIORITIES["high"]).gpus(8)
    busy = [runs(8 * at + gpu, (at, [gpu])) for at in range(64) for gpu in range(8)]
    found = [effort_of(shape(high.nodes(count)), 64, busy) for count in (8, 32)]
    assert [victims for victims, _ in found] == [64, 256]
    assert found[1][1] < 4 * found[0][1]


def test_of_a_fleet_only_some_racks_are_searched() -> None:
    high = job().priority(PRIORITIES["high"]).gpus(8).nodes(2).same_rack()
    busy = [runs(at, (at, range(8))) for at in range(200)]
    offers = [offer(f"n{at}", rack=f"r{at // 2}", free=0) for at in range(200)]
    offers = [replace(one, cpus_free=0) for one in offers]
    trials = [Trial(with_work(snapshot(*offers[:n]), busy[:n])) for n in (100, 200)]
    for trial in trials:
        found = at_once(choose(trial, shape(high), on_nodes(busy)))
        assert found is not None
        assert np.ptp(trial.columns.rack[list(found.nodes)]) == 0
    assert trials[1].effort < 1.1 * trials[0].effort
