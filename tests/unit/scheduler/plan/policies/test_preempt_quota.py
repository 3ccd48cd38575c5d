"""Whom a gang of higher priority may send away to have room in its quotas, and on nodes as well."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from support.core.running import runs, with_work
from support.core.sites import PSU_PERMILLE, JobBuilder, gpu, job
from support.core.snapshots import offer, shape, snapshot, waits
from wattline_protocol.ids import JobId, NodeId
from wattline_protocol.job.spec import PRIORITIES
from wattline_scheduler.plan.cycle import plan
from wattline_scheduler.plan.model.shape import GangKey, Waiting
from wattline_scheduler.plan.model.snapshot import (
    ENDING_PRIORITY,
    NodeOffer,
    Plan,
    QuotaHeadroom,
    RunningGang,
)
from wattline_scheduler.plan.policies.preemption_pass import MAX_VAIN_TRIES
from wattline_scheduler.plan.policies.quota_cover import cover
from wattline_scheduler.plan.search.blocked_shapes import LARGE_SITE_NODES
from wattline_scheduler.plan.search.quota_headroom import Held, quota_watts, task_held

NIGHT = QuotaHeadroom("queue night", most_milli=8000)
LAB = QuotaHeadroom("account lab", most_milli=16000)


def high(gpus: int) -> JobBuilder:
    return job().priority(PRIORITIES["high"]).gpus(gpus)


def low(gpus: int) -> JobBuilder:
    return job().priority(PRIORITIES["low"]).gpus(gpus)


def wants(number: int, wanted: JobBuilder, *quotas: int, gangs: int = 1) -> Waiting:
    return replace(waits(number, wanted, gangs=gangs), quotas=quotas)


def leaves(one: RunningGang) -> RunningGang:
    return replace(one, priority=ENDING_PRIORITY, lost_gpu_s=0.0)


def planned(
    *offers: NodeOffer,
    queue: Sequence[Waiting],
    busy: Sequence[RunningGang],
    quotas: Sequence[QuotaHeadroom] = (NIGHT,),
    claims: Mapping[GangKey, tuple[NodeId, ...]] | None = None,
) -> Plan:
    """Where these run and count in the quotas."""
    used = [
        replace(
            room,
            used_milli=sum(one.quota_milli for one in busy if number in one.quotas),
            used_mw=sum(one.quota_mw for one in busy if number in one.quotas),
        )
        for number, room in enumerate(quotas)
    ]
    snap = with_work(snapshot(*offers, waiting=tuple(queue)), busy)
    return plan(replace(snap, quotas=tuple(used), claims=claims or {}))


def going(result: Plan) -> list[list[int]]:
    """Jobs that are to go, of each preemption."""
    return [sorted(key[0] for key in one.victims) for one in result.preemptions]


def test_work_of_the_quota_goes_and_no_other_though_nodes_are_free() -> None:
    busy = [
        runs(7, (0, range(4)), lost=0.0),
        runs(8, (0, range(4, 8)), quotas=[0], priority="normal", lost=900.0),
        runs(9, (1, range(4)), quotas=[0], priority="high"),
    ]
    offers = offer("a1", free=0), offer("a2", free=4), offer("a3")
    result = planned(*offers, queue=[wants(1, high(4), 0)], busy=busy)
    assert (going(result), result.placements) == ([[8]], ())
    assert result.preemptions[0].quotas == (0,)
    assert result.waits[JobId(1)] == (
        "waits for work of lower priority to end in the quota of queue night"
    )


def test_nobody_goes_for_who_is_not_above_them() -> None:
    busy = [runs(9, (0, range(8)), quotas=[0], priority="high"), runs(8, (1, [0]))]
    offers = offer("a1", free=0), offer("a2", free=7)
    result = planned(*offers, queue=[wants(1, high(4), 0)], busy=busy)
    assert result.preemptions == ()
    assert "quota of queue night reached" in result.waits[JobId(1)]


@pytest.mark.parametrize(
    ("room", "gpus"),
    [
        (replace(NIGHT, closed="its energy is used up"), 4),
        (replace(NIGHT, most_milli=3000), 4),
    ],
)
def test_nobody_goes_where_no_end_would_help(room: QuotaHeadroom, gpus: int) -> None:
    busy = [runs(9, (0, range(8)), quotas=[0])]
    result = planned(
        offer("a1", free=0), offer("a2"), queue=[wants(1, high(gpus), 0)], busy=busy, quotas=[room]
    )
    assert result.preemptions == ()


def test_nobody_goes_where_the_gang_would_find_no_nodes() -> None:
    busy = [runs(9, (0, range(4)), quotas=[0]), runs(8, (1, range(4)), priority="high")]
    offers = offer("a1", free=0), offer("a2", free=0)
    assert planned(*offers, queue=[wants(1, high(8), 0)], busy=busy).preemptions == ()


def test_the_same_who_win_room_in_the_quota_win_it_on_nodes() -> None:
    """The cheapest on a node would not do alone."""
    for_nodes = runs(7, (0, range(8)), lost=0.0)
    for_both = runs(8, (1, range(8)), quotas=[0], lost=9.0)
    offers = offer("a1", free=0), offer("a2", free=0)
    busy = [for_nodes, for_both]
    assert going(planned(*offers, queue=[wants(1, high(8), 0)], busy=busy)) == [[8]]


def test_who_is_enough_for_the_quota_may_not_be_enough_for_nodes() -> None:
    """Half of one node and half of another, each the cheapest there, make no whole one; beside the
    one who has a node of its own, two of the quota would have to go."""
    night = replace(NIGHT, most_milli=16000)
    busy = [
        runs(4, (2, range(8)), lost=0.0),
        runs(5, (0, range(4)), quotas=[0], lost=1.0),
        runs(6, (0, range(4, 8)), quotas=[0], lost=8.0),
        runs(7, (1, range(4)), quotas=[0], lost=2.0),
        runs(8, (1, range(4, 8)), quotas=[0], lost=9.0),
    ]
    offers = [offer(name, free=0) for name in ("a1", "a2", "a3")]
    result = planned(*offers, queue=[wants(1, high(8), 0)], busy=busy, quotas=[night])
    assert going(result) == [[5, 6]]


def test_others_make_room_on_nodes_where_the_work_of_the_quota_is_not_enough() -> None:
    busy = [runs(8, (0, range(6)), quotas=[0]), runs(7, (0, range(6, 8)))]
    result = planned(offer("a1", free=0), queue=[wants(1, high(8), 0)], busy=busy)
    assert going(result) == [[7, 8]]


def test_room_in_every_quota_that_refuses() -> None:
    busy = [
        runs(6, (0, range(4)), quotas=[1], lost=0.0),
        runs(7, (0, range(4, 8)), quotas=[0], lost=0.0),
        runs(8, (1, range(4)), quotas=[0, 1], lost=9.0),
        runs(9, (1, range(4, 8)), quotas=[1], priority="high"),
        runs(10, (2, range(4)), quotas=[0, 1], priority="high"),
    ]
    offers = offer("a1", free=0), offer("a2", free=0), offer("a3", free=4), offer("a4")
    quotas = replace(NIGHT, most_milli=12000), LAB
    result = planned(*offers, queue=[wants(1, high(4), 0, 1)], busy=busy, quotas=quotas)
    assert going(result) == [[8]], "one in both, rather than one in each"
    result = planned(*offers, queue=[wants(1, high(6), 0, 1)], busy=busy, quotas=quotas)
    assert going(result) == [[6, 7, 8]]
    assert result.waits[JobId(1)] == (
        "waits for work of lower priority to end in the quotas of queue night and account lab"
    )


def test_what_ends_anyhow_counts_first() -> None:
    ends = leaves(runs(8, (0, range(4)), quotas=[0]))
    busy = [ends, runs(9, (0, range(4, 8)), quotas=[0])]
    offers = offer("a1", free=0), offer("a2")
    assert going(planned(*offers, queue=[wants(1, high(4), 0)], busy=busy)) == [[8]]
    assert going(planned(*offers, queue=[wants(1, high(6), 0)], busy=busy)) == [[8, 9]]


def test_what_is_made_free_in_the_quota_is_kept_and_what_is_left_over_is_for_the_next() -> None:
    busy = [runs(9, (0, range(8)), quotas=[0])]
    queue = [wants(number, high(gpus), 0) for number, gpus in ((1, 6), (2, 2), (3, 1))]
    queue.append(wants(4, job().gpus(1)))
    result = planned(offer("a1", free=0), offer("a2"), queue=queue, busy=busy)
    assert [(one.gang[0], one.victims) for one in result.preemptions] == [
        (1, ((9, 0),)),
        (2, ((9, 0),)),
    ]
    assert [one.job for one in result.placements] == [4], "what no quota counts starts"


def test_nobody_else_goes_for_who_waits_already_and_nobody_takes_what_it_waits_for() -> None:
    ends = leaves(runs(8, (0, range(6)), quotas=[0]))
    busy = [ends, runs(9, (1, range(2)), quotas=[0], lost=0.0)]
    queue = [wants(1, high(8), 0), wants(2, job().gpus(1), 0), wants(3, low(8))]
    offers = offer("a1", free=0), offer("a2", free=6), offer("a3")
    claims = {(JobId(1), 0): (NodeId("a3"),)}
    result = planned(*offers, queue=queue, busy=busy, claims=claims)
    assert (result.preemptions, result.placements) == ((), ())
    assert "to end in the quota of queue night" in result.waits[JobId(1)]
    assert result.waits[JobId(2)] == (
        "quota of queue night reached: 8 GPUs at a time, 8 GPUs in use, "
        "8 GPUs reserved for others, it requests 1 GPU; available when other jobs of the quota end"
    )


def test_nodes_are_kept_where_those_run_who_go_rather_than_free_ones() -> None:
    """Though the free one would be left without a GPU over."""
    busy = [runs(9, (1, range(8)), quotas=[0])]
    queue = [wants(1, high(7), 0), wants(2, job().gpus(7))]
    result = planned(offer("a0", gpus=7), offer("a1", free=0), queue=queue, busy=busy)
    assert result.preemptions[0].nodes == ("a1",)
    assert [one.job for one in result.placements] == [2]


LEAN = offer("a1", free=0, gpu_name="NVIDIA L4", cap_min_mw=40_000, cap_max_mw=72_000)
ON_LEAN = runs(7, (0, range(8)), priority="high")
GPU_MW = task_held([gpu(0)], shape(job()), PSU_PERMILLE).mw


def cool(gpus: int) -> QuotaHeadroom:
    """Watts for so many of the usual GPUs."""
    return QuotaHeadroom("queue cool", most_mw=gpus * GPU_MW)


def in_cool(number: int, *place: tuple[int, Sequence[int]], lost: float = 1.0) -> RunningGang:
    return runs(number, *place, quotas=[0], each_mw=GPU_MW, lost=lost)


def test_watts_of_the_quota_are_won_for_the_gpus_that_are_free() -> None:
    """Lean GPUs are in use by others: of those that are free a task takes more than is left."""
    busy = [ON_LEAN, in_cool(8, (2, range(2)), lost=5.0), in_cool(9, (2, range(2, 4)), lost=6.0)]
    queue = [wants(1, high(4), 0)]
    result = planned(
        LEAN, offer("a2"), offer("a3", free=4), queue=queue, busy=busy, quotas=[cool(6)]
    )
    assert going(result) == [[8]]
    assert result.preemptions[0].quotas == (0,)


def test_watts_are_won_for_gpus_that_others_have_to_leave_as_well() -> None:
    busy = [ON_LEAN, runs(6, (1, range(8))), in_cool(8, (2, range(4)))]
    queue = [wants(1, high(8), 0)]
    result = planned(
        LEAN,
        offer("a2", free=0),
        offer("a3", gpus=4, free=0),
        queue=queue,
        busy=busy,
        quotas=[cool(8)],
    )
    assert going(result) == [[6, 8]]


def test_the_watts_of_the_gpus_that_are_kept_are_kept() -> None:
    busy = [ON_LEAN, in_cool(8, (1, range(5)))]
    offers = LEAN, offer("a2", free=3), offer("a3")
    behind = wants(2, job().gpus(3), 0)
    result = planned(*offers, queue=[wants(1, high(8), 0), behind], busy=busy, quotas=[cool(10)])
    assert (going(result), result.placements) == ([[8]], ())
    booked, kept = (quota_watts(gpus * GPU_MW) for gpus in (5, 8))
    assert f"{booked} booked, {kept} reserved for others" in result.waits[JobId(2)]
    alone = planned(*offers, queue=[behind], busy=busy, quotas=[cool(10)])
    assert [one.job for one in alone.placements] == [2]


def test_who_is_not_needed_beside_the_others_stays() -> None:
    """It is the first of the choice, since it counts in both quotas."""
    busy = [
        runs(7, (0, range(3)), quotas=[0, 1], lost=9.0),
        runs(8, (1, range(4)), quotas=[0]),
        runs(9, (2, range(4)), quotas=[1]),
    ]
    full = (
        QuotaHeadroom("queue night", most_milli=7000),
        QuotaHeadroom("account lab", most_milli=7000),
    )
    offers = offer("a1", free=5), offer("a2", free=4), offer("a3", free=4), offer("a4")
    result = planned(*offers, queue=[wants(1, high(4), 0, 1)], busy=busy, quotas=full)
    assert going(result) == [[8, 9]]


def test_one_who_goes_in_this_cycle_leaves_room_in_the_quota_for_two_on_other_nodes() -> None:
    busy = [runs(9, (0, range(8)), quotas=[0])]
    queue = [wants(1, high(8), 0), wants(2, high(2), 0)]
    room = replace(NIGHT, most_milli=10000)
    result = planned(offer("a1", free=0), offer("a2"), queue=queue, busy=busy, quotas=[room])
    assert [(one.victims, one.nodes) for one in result.preemptions] == [
        (((9, 0),), ("a1",)),
        (((9, 0),), ("a2",)),
    ]


def test_nodes_are_not_kept_for_one_whose_quota_is_used_up_meanwhile() -> None:
    queue = [wants(1, high(8), 0), wants(2, low(8))]
    closed = replace(NIGHT, closed="its energy is used up")
    claims = {(JobId(1), 0): (NodeId("a1"),)}
    result = planned(offer("a1"), queue=queue, busy=[], quotas=[closed], claims=claims)
    assert [one.job for one in result.placements] == [2]
    assert result.waits[JobId(1)] == "its energy is used up"


def test_what_was_in_vain_for_one_is_not_looked_for_again_for_those_like_it() -> None:
    busy = [runs(9, (0, range(4)), quotas=[0]), runs(8, (1, range(4)), priority="high")]
    offers = offer("a1", free=0), offer("a2", free=0)
    one, many = (
        planned(*offers, queue=[wants(n, high(8), 0) for n in range(1, 1 + count)], busy=busy)
        for count in (1, 50)
    )
    assert one.effort == many.effort


def test_who_has_nobody_to_send_away_in_a_quota_uses_up_no_try_of_a_cycle() -> None:
    """On a large site few shapes are looked at in vain in one cycle."""
    count = LARGE_SITE_NODES + 1
    offers = [offer(f"n{at}", gpus=2, free=0 if at < 4 else 2) for at in range(count)]
    busy = [runs(at, (at, range(2)), quotas=[0 if at < 3 else 1]) for at in range(4)]
    vain = [wants(10 + n, high(2).nodes(4 + n), 0) for n in range(MAX_VAIN_TRIES)]
    rooms = replace(NIGHT, most_milli=40000), replace(LAB, most_milli=2000)
    used = runs(9, (5, range(2)), quotas=[0], priority="critical")
    used = replace(used, quota_milli=33000)
    queue = [*vain, wants(30, high(2), 1)]
    result = planned(*offers, queue=queue, busy=[*busy, used], quotas=rooms)
    assert [one.gang[0] for one in result.preemptions] == [30]


# --- the choice among those of quotas --------------------------------------------------------


def covered(lacks: Mapping[int, Held], *among: RunningGang) -> list[int] | None:
    chosen = cover(lacks, among)
    return None if chosen is None else sorted(one.key[0] for one in chosen)


def counts(
    number: int, gpus: int, priority: str = "low", lost: float = 1.0, mw: int = 0
) -> RunningGang:
    return runs(number, (0, range(gpus)), priority=priority, lost=lost, quotas=[0], each_mw=mw)


def test_no_higher_priority_than_there_must_be_then_the_fewest_then_the_least_work() -> None:
    large = counts(1, 8, priority="normal", lost=0.0)
    small = [counts(number, 2, lost=float(number)) for number in range(2, 6)]
    assert covered({0: Held(8000, 0)}, large, *small) == [2, 3, 4, 5]
    assert covered({0: Held(8000, 0)}, large, *small[:3]) == [1]
    assert covered({0: Held(3000, 0)}, *small) == [2, 3]
    assert covered({0: Held(9000, 0)}, *small) is None
    assert covered({0: Held(3000, 0)}, *small, counts(6, 3, lost=99.0)) == [6]


def test_one_that_loses_less_goes_instead_of_a_larger_one_that_is_not_needed() -> None:
    assert covered({0: Held(6000, 0)}, counts(1, 4, lost=9.0), counts(2, 3), counts(3, 3)) == [2, 3]


def test_watts_and_gpus_are_won_together() -> None:
    lacks = {0: Held(2000, 900)}
    assert covered(lacks, counts(1, 2, mw=100), counts(2, 1, mw=800), counts(3, 1)) == [1, 2]


def test_where_those_who_leave_are_not_enough_all_of_them_count() -> None:
    ending = leaves(counts(1, 3)), leaves(counts(2, 2))
    lack = {0: Held(6000, 0)}
    assert covered(lack, *ending, counts(3, 8, lost=9.0), counts(4, 1)) == [1, 2, 4]
    assert covered({0: Held(2000, 0)}, *ending, counts(4, 1)) == [1]
