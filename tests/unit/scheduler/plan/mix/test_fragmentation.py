"""Fragments and prices on nodes small enough to count by hand."""

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from wattline_protocol.ids import GpuIndex
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.plan.mix.fragmentation import (
    COVERED,
    Left,
    Mix,
    by_kind,
    growth,
    left_on,
    mix_of,
    no_prices,
    prices,
    typical,
    use,
    use_with_cpus,
    whole_nodes,
)
from wattline_scheduler.plan.model.columns import WHOLE_MILLI, Columns
from wattline_scheduler.plan.model.device_classes import MigDevice
from wattline_scheduler.plan.model.task_request import Ask
from wattline_scheduler.plan.search.rank import chosen_slots, node_cost
from wattline_scheduler.power.topology.matrix import Floats

SMALL, LARGE = 1, 2
"""Classes of GPUs."""


def gpu(name: str, index: int) -> GpuInfo:
    return GpuInfo(GpuIndex(index), "", name, 0, 0, 0, 0, 0, 1000, can_cap=False, managed=True)


def fleet(*nodes: tuple[str, Sequence[int], int]) -> Columns:
    """Nodes as class, what is free of each GPU, and free CPUs."""
    columns = Columns.empty(len(nodes), max(len(free) for _, free, _ in nodes))
    for name in ("small", "large"):
        columns.classes.number(gpu(name, 0))
    for at, (name, free, cpus) in enumerate(nodes):
        columns.set_gpus(at, [gpu(name, index) for index in range(len(free))], free)
        columns.cpus_free[at] = cpus
    columns.is_open[:] = True
    return columns


def ask(gpus: int = 1, milli: int = WHOLE_MILLI, cpus: int = 1, on: Sequence[int] = (1, 2)) -> Ask:
    is_suited = np.isin(np.arange(3), on)
    return Ask(gpus, milli, cpus, 0, is_suited, np.zeros(3, np.int64))


def fragmented_milli(left: Left, mix: Mix) -> Floats:
    """[node] free thousandths of GPUs that a task drawn from the mix cannot use, on average."""
    kinds = by_kind(left.free_milli, left.gpu_class, mix)
    total: Floats = kinds[:, -1] - use_with_cpus(kinds, left.cpus, mix)[0]
    return total


def fragments_of(columns: Columns, *mix: tuple[Ask, float]) -> list[float]:
    return [float(f) for f in fragmented_milli(left_on(columns), mix_of(mix))]


@pytest.mark.parametrize(
    ("node", "task", "lost"),
    [
        (("small", (1000, 500), 4), ask(), 500),  # what is left of a shared GPU
        (("small", (1000, 500), 4), ask(milli=400), 0),
        (("small", (1000, 300), 4), ask(milli=400), 300),
        (("small", (1000, 1000), 4), ask(cpus=5), 2000),  # too few CPUs: all of it
        (("small", (1000, 1000), 4), ask(on=(LARGE,)), 2000),  # another class: all of it
        (("small", (1000, 500), 4), ask(gpus=2), 1500),  # too few GPUs: all of it
        (("small", (1000, 1000, 100), 4), ask(gpus=2), 100),
        (("small", (1000, 500), 4), ask(gpus=0), 1500),  # a task without GPUs uses none
    ],
)
def test_what_a_task_cannot_use(
    node: tuple[str, tuple[int, ...], int], task: Ask, lost: float
) -> None:
    assert fragments_of(fleet(node), (task, 1.0)) == [lost]


def test_fragments_are_a_mean_over_the_mix() -> None:
    columns = fleet(("small", (1000, 500), 4))
    mix = [(ask(), 0.5), (ask(milli=400), 0.3), (ask(gpus=0), 0.2)]
    assert fragments_of(columns, *mix) == pytest.approx([0.5 * 500 + 0.2 * 1500])


def test_growth_is_the_difference_of_fragments_and_a_share_goes_where_it_costs_least() -> None:
    columns = fleet(("small", (1000, 600), 4), ("small", (1000,), 4), ("small", (100,), 4))
    plain = no_prices(mix_of([(ask(), 0.5), (ask(milli=600), 0.5)]))
    share = ask(milli=600)
    before = fragments_of(columns, (ask(), 0.5), (ask(milli=600), 0.5))
    # Node 0: the GPU with 600 left becomes full (300 of fragments go away); node 1: 400 are left,
    # which nobody can use; node 2 has no GPU for it.
    assert before == [300.0, 0.0, 100.0]
    grown = growth(columns, share, plain)
    assert grown.milli.tolist() == [-300.0, 400.0, np.inf]
    assert grown.slot is not None
    assert grown.slot[:2].tolist() == [1, 0]
    assert chosen_slots(columns, share, 0, plain) == [1]


def test_a_place_that_lacks_cpus_counts_in_part_for_single_gpus_only() -> None:
    columns = fleet(("small", (1000, 1000, 1000, 1000), 10))
    mix = mix_of([(ask(cpus=4), 0.5), (ask(gpus=2, cpus=8), 0.5), (ask(milli=300, cpus=1), 0.0)])
    assert use(left_on(columns), mix)[1].tolist() == [[2.5, 1.0, 10.0]]


def test_what_is_scarce_is_kept_for_who_needs_it() -> None:
    columns = fleet(*[("small", (1000,), 4)] * 8, *[("large", (1000,), 4)] * 2)
    mix = mix_of([(ask(), 0.7), (ask(on=(LARGE,)), 0.3)])
    plain, priced = (
        growth(columns, ask(), p).milli for p in (no_prices(mix), prices(columns, mix))
    )
    # Without prices: a small GPU was of no use to 0.3 of the mix, so taking it costs less.
    assert plain.tolist() == [-300.0] * 8 + [0.0] * 2
    # 10 tasks to come. Any GPU: 7 of them for 11 (10 + 1); a large one: 3 for 3, so a full price.
    assert priced[0] == pytest.approx(-300 + 1000 * (7 / 11) ** 2)
    assert priced[-1] == pytest.approx(1000 * (7 / 11) ** 2 + 1000)


def test_cpus_of_gpus_that_are_still_free_have_a_price() -> None:
    columns = fleet(("small", (1000, 1000), 8), ("small", (1000, 1000), 80))
    mix = mix_of([(ask(cpus=4), 1.0)])
    hungry = ask(gpus=0, cpus=4)
    assert growth(columns, hungry, no_prices(mix)).milli.tolist() == [0.0, 0.0]
    priced = growth(columns, hungry, prices(columns, mix)).milli
    assert priced[0] > priced[1] == 0.0


def test_whole_nodes_are_broken_only_where_nothing_else_does() -> None:
    columns = fleet(("small", (1000,) * 4, 16), ("small", (1000, 1000, 1000, 0), 16))
    whole = whole_nodes([(4, 16), (4, 16)], np.array([False, True, True]))
    mix = mix_of([*typical([(ask(), 9.0)]), *whole])
    grown = growth(columns, ask(), prices(columns, mix)).milli
    assert grown[1] < grown[0]
    assert [task.gpus for task, _ in whole] == [4]
    assert [task.cpus for task, _ in whole] == [14]


def test_a_mig_device_counts_by_its_compute_slices() -> None:
    """A GPU as 3g and 4g, a whole GPU beside it: a mix of whole GPUs cannot use the devices."""
    columns = Columns.empty(2, 2)
    small, large = (
        MigDevice(**msgspec.structs.asdict(gpu(name, at)), profile=name, share_permille=share)
        for at, (name, share) in enumerate([("3g", 428), ("4g", 571)])
    )
    columns.set_gpus(0, [small, large], [1000, 1000])
    columns.set_gpus(1, [gpu("small", 0)], [1000])
    columns.cpus_free[:] = 8
    columns.is_open[:] = True
    sizes_milli = columns.classes.sizes_milli
    assert columns.gpus_milli().tolist() == [428 + 571, 1000]
    whole, device = (
        Ask(1, 1000, 1, 0, sizes_milli == n, np.zeros(4, np.int64)) for n in (1000, 428)
    )
    mix = mix_of([(whole, 0.5), (device, 0.5)], sizes_milli)
    assert mix.size_milli.tolist() == [1000, 428]
    left = left_on(columns)
    assert fragmented_milli(left, mix).tolist() == [0.5 * 428 + 571, 500.0]
    # What goes is 428 of which half the mix could make use.
    assert growth(columns, device, no_prices(mix)).milli.tolist() == [-0.5 * 428, np.inf]
    assert whole_nodes([(4, 16)], columns.classes.are_gpus)[0][0].is_suited.tolist() == [
        size == 1000 for size in sizes_milli.tolist()
    ]


def test_the_typical_tasks_are_the_most_frequent_ones() -> None:
    counts = [(ask(cpus=n), float(often)) for n, often in enumerate([1, 60, 4, 35])]
    kept = typical(counts)
    assert [task.cpus for task, _ in kept] == [1, 3]
    assert sum(often for _, often in kept) == pytest.approx(1.0)
    assert 60 + 35 >= COVERED * 100 > 60


def test_prices_are_stale_when_a_twentieth_part_has_changed() -> None:
    columns = fleet(*[("small", (1000,) * 8, 16)] * 5)
    made = prices(columns, mix_of([(ask(), 1.0)]))
    columns.free_milli[0, :2] = 0
    assert not made.are_stale(columns)
    columns.free_milli[0, 2] = 500
    assert made.are_stale(columns)


def test_the_rank_counts_fragments_where_a_mix_is_known_and_best_fit_where_not() -> None:
    columns = fleet(("small", (1000, 1000), 4), ("large", (1000, 1000, 1000), 4))
    mix: Mix = mix_of([(ask(on=(SMALL,)), 0.5), (ask(on=(LARGE,)), 0.01)])
    by_fit = node_cost(columns, ask())
    by_mix = node_cost(columns, ask(), grown=growth(columns, ask(), no_prices(mix)))
    assert by_fit[0] < by_fit[1]
    assert by_mix[1] < by_mix[0]
