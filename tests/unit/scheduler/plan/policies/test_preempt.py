"""Whom a gang of higher priority may send away: the fewest, the least, and only if it helps."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from support.core.running import RISE_MW, on_nodes, runs, with_work
from support.core.sites import JobBuilder, gpu, job, migs
from support.core.snapshots import offer, same_columns, shape, snapshot, waits
from wattline_protocol.ids import GpuIndex, JobId, NodeId
from wattline_protocol.job.spec import PRIORITIES
from wattline_scheduler.plan.cycle import plan
from wattline_scheduler.plan.model.device_classes import devices
from wattline_scheduler.plan.model.snapshot import (
    ENDING_PRIORITY,
    NodeOffer,
    Plan,
    RunningGang,
    Snapshot,
)
from wattline_scheduler.plan.policies.preempt import choose
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.time_slices import at_once


def chosen(snap: Snapshot, wanted: JobBuilder, *busy: RunningGang) -> list[int] | None:
    trial = Trial(with_work(snap, busy))
    choice = at_once(choose(trial, shape(wanted), on_nodes(busy)))
    assert same_columns(trial.columns, snap.columns), "the trial is left as it was"
    return None if choice is None else sorted(one.key[0] for one in choice.victims)


def high() -> JobBuilder:
    return job().priority(PRIORITIES["high"])


def test_only_work_of_lower_priority_goes() -> None:
    snap, wanted = snapshot(offer("a1", free=0)), high().gpus(8)
    assert chosen(snap, wanted, runs(1, (0, range(8)), priority="high")) is None
    assert chosen(snap, wanted, runs(1, (0, range(8)), priority="normal")) == [1]


def test_nobody_goes_where_that_does_not_help() -> None:
    busy = runs(1, (0, range(4)))
    assert chosen(snapshot(offer("a1", free=0)), high().gpus(8), busy) is None
    assert chosen(snapshot(offer("a1", free=4)), high().gpus(9), busy) is None
    closed = snapshot(offer("a1", free=4, closed="draining"))
    assert chosen(closed, high().gpus(8), busy) is None
    assert chosen(snapshot(offer("a1", free=4), room_kw=0.1), high().gpus(8), busy) is None


def test_the_lowest_priority_goes_first_then_the_fewest_gangs_then_the_least_work() -> None:
    two = snapshot(offer("a1", free=0), offer("a2", free=0))
    normal, low = runs(1, (0, range(8)), priority="normal"), runs(2, (1, range(8)))
    assert chosen(two, high().gpus(8), normal, low) == [2]
    halves = runs(3, (1, range(4))), runs(4, (1, range(4, 8)))
    assert chosen(two, high().gpus(8), runs(1, (0, range(8))), *halves) == [1]
    long, short = runs(1, (0, range(8)), lost=900.0), runs(2, (1, range(8)), lost=9.0)
    assert chosen(two, high().gpus(8), long, short) == [2]


def test_who_leaves_anyhow_is_none_of_those_who_are_sent_away() -> None:
    """Of the one node one gang goes and two end anyhow, of the other two would go."""
    snap = snapshot(offer("a1", free=0), offer("a2", free=0))
    leaving = leaves(1, (0, range(3))), leaves(2, (0, range(3, 6)))
    halves = runs(4, (1, range(4))), runs(5, (1, range(4, 8)))
    assert chosen(snap, high().gpus(8), *leaving, runs(3, (0, [6, 7]), lost=9.0), *halves) == [
        1,
        2,
        3,
    ]


def test_nobody_goes_without_need() -> None:
    """The small one alone is not enough, and beside the large one it is not needed."""
    small, large = runs(1, (0, range(2)), lost=0.0), runs(2, (0, range(2, 8)), lost=9.0)
    assert chosen(snapshot(offer("a1", free=0)), high().gpus(6), small, large) == [2]


def test_who_was_chosen_before_one_that_leaves_its_node_too_is_left_alone() -> None:
    """The cheap one is enough for the first task; for the second one on both nodes has to go."""
    snap = snapshot(offer("a1", free=0), offer("a2", free=0))
    cheap, other = runs(1, (0, range(4)), lost=0.0), runs(3, (1, range(4)), priority="high")
    both = runs(2, (0, range(4, 8)), (1, range(4, 8)), lost=9.0)
    assert chosen(snap, high().nodes(2).gpus(4), cheap, both, other) == [2]


def test_a_gang_goes_whole_and_counts_once() -> None:
    """One gang on both nodes is less than one on each."""
    snap = snapshot(offer("a1", free=0), offer("a2", free=0))
    both = runs(1, (0, range(4)), (1, range(4)))
    each = runs(2, (0, range(4, 8))), runs(3, (1, range(4, 8)))
    assert chosen(snap, high().nodes(2).gpus(4), both, *each) == [1]


def test_cpus_are_won_too() -> None:
    snap = snapshot(replace(offer("a1", free=4), cpus_free=1))
    assert chosen(snap, high().gpus(4).cpus_per_gpu(1), runs(1, (0, range(4)))) == [1]


def test_in_one_rack_where_it_must_be() -> None:
    snap = snapshot(*(offer(n, free=0) for n in ("a1", "b1", "b2")))
    busy = (runs(1, (0, range(8)), lost=0.0), runs(2, (1, range(8))), runs(3, (2, range(8))))
    assert chosen(snap, high().nodes(2).gpus(8).same_rack(), *busy) == [2, 3]


def with_busy(
    *offers: NodeOffer, queue: Sequence[tuple[int, JobBuilder]], busy: Sequence[RunningGang]
) -> Plan:
    waiting = tuple(waits(number, wanted) for number, wanted in queue)
    return plan(with_work(snapshot(*offers, waiting=waiting), busy))


def test_what_is_being_made_free_is_kept_from_those_behind() -> None:
    queue = ((1, high().gpus(8)), (2, job().gpus(2)))
    result = with_busy(offer("a1", free=4), queue=queue, busy=[runs(9, (0, range(4)))])
    assert [one.victims for one in result.preemptions] == [((JobId(9), 0),)]
    assert result.preemptions[0].nodes == ("a1",)
    assert result.placements == ()
    assert result.waits[JobId(1)] == "waits for work of lower priority to end on a1"


def test_nobody_is_sent_away_for_two() -> None:
    queue = ((1, high().gpus(8)), (2, high().gpus(8)))
    result = with_busy(offer("a1", free=0), queue=queue, busy=[runs(9, (0, range(8)))])
    assert [one.gang[0] for one in result.preemptions] == [1]


def test_a_gang_that_others_make_room_for_waits_on_its_nodes_and_sends_nobody_else_away() -> None:
    waiting = (waits(1, high().gpus(8)), waits(2, job().gpus(1)))
    snap = snapshot(offer("a1", free=4), offer("a2", free=0), waiting=waiting)
    snap = with_work(snap, [runs(9, (1, range(8)), priority="normal")])
    snap = replace(snap, claims={(JobId(1), 0): (NodeId("a1"),)})
    result = plan(snap)
    assert (result.preemptions, result.placements) == ((), ())


@pytest.mark.parametrize("priority", ["low", "normal"])
def test_a_job_not_above_the_lowest_running_priority_preempts_none(priority: str) -> None:
    snap = snapshot(
        offer("a1", free=0), waiting=(waits(1, job().priority(PRIORITIES[priority]).gpus(8)),)
    )
    snap = with_work(snap, [runs(9, (0, range(8)), priority="low")])
    assert plan(replace(snap, least_priority=PRIORITIES["normal"])).preemptions == ()


def test_a_device_in_the_way_is_won_and_the_watts_of_its_gpu_with_the_last_holder() -> None:
    made = devices(gpu(0, mig=migs("1g.10gb", "1g.10gb")))
    first, second = made
    counts_mw = first.idle_mw + RISE_MW
    full = offer("a1", gpus=1)
    booking = replace(full.booking, busy_mw=counts_mw, held=((GpuIndex(0), counts_mw),))
    snap = snapshot(replace(full, gpus=made, free=(), booking=booking))
    low, other = runs(1, (0, [first.index])), runs(2, (0, [second.index]), lost=2.0)
    assert chosen(snap, high().mig("1g.10gb"), low, other) == [1]
    trial = Trial(snap)
    loads = [int(trial.columns.load_mw[0])]
    for one in (low, other):
        trial.take_away(one.tasks[0])
        loads.append(int(trial.columns.load_mw[0]))
    assert [load - loads[0] for load in loads] == [0, 0, -RISE_MW]
    assert trial.columns.idle_mw[0].tolist() == [first.idle_mw] * 2


def test_what_goes_from_a_node_of_fewer_gpus_than_others_comes_back_to_its_own_slots() -> None:
    trial = Trial(snapshot(offer("a1", gpus=8), offer("a2", gpus=4, free=0)))
    trial.take_away(runs(1, (1, range(4))).tasks[0])
    assert trial.columns.free_milli[1].tolist() == [1000] * 4 + [0] * 4


def on_claimed(
    *behind: tuple[int, JobBuilder], claim_gpus: int, busy: Sequence[RunningGang]
) -> Plan:
    """Job 1 waits on a1, and these come behind it; a1 has eight GPUs in use, a2 has as many."""
    urgent = job().priority(PRIORITIES["critical"]).gpus(claim_gpus)
    waiting = (waits(1, urgent), *(waits(number, wanted) for number, wanted in behind))
    snap = snapshot(offer("a1", free=0), offer("a2", free=0), waiting=waiting)
    snap = with_work(snap, busy)
    return plan(replace(snap, claims={(JobId(1), 0): (NodeId("a1"),)}))


def leaves(number: int, *places: tuple[int, Sequence[int]]) -> RunningGang:
    return replace(runs(number, *places), priority=ENDING_PRIORITY)


def test_nobody_counts_on_what_is_being_made_free_for_another() -> None:
    """Job 8 on a1 would be sent away in vain: all of it is for job 1."""
    busy = [leaves(9, (0, range(6))), runs(8, (0, range(6, 8)))]
    result = on_claimed((2, high().gpus(8)), claim_gpus=6, busy=busy)
    assert result.preemptions == ()
    result = on_claimed((2, high().gpus(2)), claim_gpus=6, busy=busy)
    assert [one.victims[0] for one in result.preemptions] == [(JobId(8), 0)]


def test_what_is_left_over_of_those_who_leave_anyhow_is_waited_for_first() -> None:
    busy = [leaves(9, (0, range(8))), runs(8, (1, range(8)), lost=0.0)]
    queue = ((2, high().gpus(6)), (3, high().gpus(1)))
    first, second = on_claimed(*queue, claim_gpus=2, busy=busy).preemptions
    assert (first.gang[0], first.victims, first.nodes) == (2, ((JobId(9), 0),), ("a1",))
    assert (second.gang[0], second.victims, second.nodes) == (3, ((JobId(8), 0),), ("a2",))


def test_of_one_who_goes_in_this_cycle_the_next_gets_what_is_left_over() -> None:
    queue = ((1, high().gpus(2)), (2, high().gpus(6)), (3, high().gpus(1)))
    result = with_busy(offer("a1", free=0), queue=queue, busy=[runs(9, (0, range(8)))])
    assert [one.gang[0] for one in result.preemptions] == [1, 2]
    assert {one.victims for one in result.preemptions} == {((JobId(9), 0),)}
