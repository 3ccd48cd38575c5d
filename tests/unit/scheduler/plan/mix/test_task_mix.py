"""What is expected of the next tasks, by what was asked for lately."""

from collections.abc import Sequence

import pytest

from support.core.sites import gpu, job
from wattline_scheduler.plan.mix.fragmentation import Mix
from wattline_scheduler.plan.mix.task_mix import (
    CHANGED,
    FEWEST,
    HALF_LIFE,
    MAX_KINDS,
    MOST_A_JOB,
    Pricing,
    RecentMix,
)
from wattline_scheduler.plan.model.columns import Columns
from wattline_scheduler.plan.model.shape import Shape, shape_of


def columns(nodes: int = 4, names: Sequence[str] = ("NVIDIA H100",)) -> Columns:
    made = Columns.empty(nodes, 8)
    for at in range(nodes):
        gpus = [gpu(index, name=names[at % len(names)]) for index in range(8)]
        made.set_gpus(at, gpus, [1000] * 8)
    made.cpus[:] = made.cpus_free[:] = 64
    return made


def shape(gpus: int = 1, cpus: int = 2) -> Shape:
    return shape_of(job().gpus(gpus).cpus_per_gpu(cpus).build())


def asked_for(mix: Mix | None) -> dict[tuple[int, int], float]:
    assert mix is not None
    tasks = zip(mix.gpus.tolist(), mix.cpus.tolist(), mix.frequency.tolist(), strict=True)
    return {(gpus, cpus): often for gpus, cpus, often in tasks}


def test_no_mix_is_known_until_enough_was_asked_for() -> None:
    recent = RecentMix()
    for _ in range(FEWEST - 1):
        recent.note(shape(), 1)
    assert recent.mix(columns()) is None
    recent.note(shape(), 1)
    assert recent.mix(columns()) is not None


def test_frequencies_are_those_of_tasks_and_a_whole_node_is_always_expected() -> None:
    recent = RecentMix()
    for _ in range(10):
        recent.note(shape(1, 2), 3)
        recent.note(shape(4, 2), 1)
    often = asked_for(recent.mix(columns()))
    assert often[1, 2] == pytest.approx(0.75, abs=0.01)
    assert often[4, 8] == pytest.approx(0.25, abs=0.01)
    assert 0 < often[8, 57] < 0.001


def test_what_differs_in_priority_memory_and_gang_alone_is_one_kind() -> None:
    recent = RecentMix()
    for priority in (10, 50, 75):
        recent.note(shape_of(job().gpus(2).priority(priority).nodes(2).same_rack().build()), 20)
    assert len(asked_for(recent.mix(columns()))) == 2  # that, and a whole node


def test_the_newest_count_most() -> None:
    recent = RecentMix()
    for size in (1, 2):
        for _ in range(HALF_LIFE // MOST_A_JOB):
            recent.note(shape(size), MOST_A_JOB)
    often = asked_for(recent.mix(columns()))
    assert often[2, 4] == pytest.approx(2 * often[1, 2], rel=0.01)


def test_a_large_array_does_not_make_the_others_forgotten() -> None:
    recent = RecentMix()
    recent.note(shape(1), MOST_A_JOB)
    recent.note(shape(2), 100_000)
    often = asked_for(recent.mix(columns()))
    assert often[1, 2] > 0.45


def test_the_mix_is_the_same_object_until_it_has_changed() -> None:
    recent, fleet = RecentMix(), columns()
    recent.note(shape(1), 100)
    first = recent.mix(fleet)
    recent.note(shape(1), 100)
    assert recent.mix(fleet) is first
    recent.note(shape(8), round(200 * CHANGED))
    assert recent.mix(fleet) is first, "a tenth of all tasks is not more than that"
    recent.note(shape(8), 40)
    changed = recent.mix(fleet)
    assert changed is not first
    assert changed is recent.mix(fleet)


def test_it_is_made_anew_for_other_gpus() -> None:
    recent, fleet = RecentMix(), columns()
    recent.note(shape(1), 100)
    first = recent.mix(fleet)
    fleet.set_gpus(0, [gpu(index, name="NVIDIA A100") for index in range(8)], [1000] * 8)
    second = recent.mix(fleet)
    assert second is not first
    assert recent.mix(columns(5, ("NVIDIA H100", "NVIDIA A100"))) is not second


def test_kinds_are_bounded_and_the_rare_ones_go() -> None:
    recent = RecentMix()
    recent.note(shape(8), 50)
    for cpus in range(1, 2 * MAX_KINDS):
        recent.note(shape(1, cpus), 1)
    assert recent.kind_count <= MAX_KINDS
    assert (8, 16) in asked_for(recent.mix(columns()))


def test_counts_do_not_grow_for_ever() -> None:
    recent = RecentMix()
    for _ in range(20_000):
        recent.note(shape(1), MOST_A_JOB)
    for _ in range(HALF_LIFE // MOST_A_JOB):
        recent.note(shape(2), MOST_A_JOB)
    often = asked_for(recent.mix(columns()))
    assert often[2, 4] == pytest.approx(0.5, rel=0.01)


def test_prices_stay_until_the_mix_or_the_fleet_has_changed() -> None:
    recent, fleet, pricing = RecentMix(), columns(), Pricing()
    recent.note(shape(1), 100)
    mix = recent.mix(fleet)
    assert mix is not None
    assert pricing.renew(fleet, mix)
    assert not pricing.renew(fleet, mix)
    fleet.free_milli[0] = 0
    assert pricing.renew(fleet, mix)
    recent.note(shape(4), 100)
    changed = recent.mix(fleet)
    assert changed is not None
    assert pricing.renew(fleet, changed)
