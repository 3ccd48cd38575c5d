"""Who may have room looked for: what is in vain for many keeps it from nobody for ever."""

import dataclasses
import math

from support.core.sites import job
from support.core.snapshots import offer, snapshot, waits
from wattline_protocol.ids import Instant, JobId
from wattline_scheduler.plan.cycle import PATIENCE_S, Limits, plan
from wattline_scheduler.plan.model.shape import Waiting
from wattline_scheduler.plan.model.snapshot import NodeOffer, Plan, QuotaRoom
from wattline_scheduler.plan.search.score_cache import Looks
from wattline_scheduler.plan.search.search_rotation import MAX_EFFORT, MAX_VAIN, Turns

FIRST, GANG = JobId(0), JobId(100_000)
SOON, LATER = PATIENCE_S + 100.0, PATIENCE_S + 500.0


def full(name: str, ends: float, gpu_name: str = "NVIDIA H100") -> NodeOffer:
    """A node of which nothing is free until then."""
    one = offer(name, free=0, gpu_name=gpu_name)
    known = tuple((gpu.index, Instant(ends)) for gpu in one.gpus if math.isfinite(ends))
    return dataclasses.replace(one, ends=known)


def nodes(third_ends: float) -> tuple[NodeOffer, ...]:
    """One for each kind of job below."""
    return (
        full("a1", SOON),
        full("b1", LATER, "NVIDIA A100"),
        full("c1", third_ends, "NVIDIA L40S"),
    )


def whole(number: int, gpu_type: str) -> Waiting:
    return waits(number, job().gpus(8).gpu_type(gpu_type))


def in_vain(count: int) -> list[Waiting]:
    """Unlike jobs that could run, but nobody knows when."""
    one = job().gpus(8).gpu_type("l40s")
    return [waits(number, one.memory(number)) for number in range(1, count + 1)]


def cycle(looks: Looks, *queue: Waiting, ends: float = math.inf, now: float = PATIENCE_S) -> Plan:
    return plan(snapshot(*nodes(ends), waiting=queue, now=now), looks)


def test_what_is_in_vain_takes_no_promise_from_who_can_be_kept_room() -> None:
    queue = (whole(FIRST, "h100"), *in_vain(50), whole(GANG, "a100"))
    assert cycle(Looks(), *queue).promised == {FIRST: SOON, GANG: LATER}


def test_all_have_their_turn_however_many_look_in_vain_and_it_stays_theirs() -> None:
    looks, queue = Looks(), (whole(FIRST, "h100"), *in_vain(400), whole(GANG, "a100"))
    plans = [cycle(looks, *queue) for _ in range(20)]
    is_kept = [one.promised == {FIRST: SOON, GANG: LATER} for one in plans]
    assert not is_kept[0], "there are too many for one cycle"
    assert any(is_kept[:5])
    assert all(is_kept[is_kept.index(True) :]), "it is not given up while others have their turn"
    assert {job for one in plans for job in one.promised} == {FIRST, GANG}


def test_what_was_in_vain_has_another_turn_once_all_had_theirs() -> None:
    looks, queue = Looks(), (whole(FIRST, "h100"), *in_vain(400))
    for _ in range(20):
        assert cycle(looks, *queue).promised == {FIRST: SOON}
    later = [cycle(looks, *queue, ends=LATER).promised for _ in range(5)]
    assert len(later[-1]) == 2, "it is known by now when"


def test_a_cycle_looks_in_vain_only_so_often() -> None:
    turns, each = Turns(), MAX_EFFORT // 10
    turns.begin()
    for what in range(100):
        if turns.has(what, is_dated=True):
            turns.in_vain(what, each, is_dated=True)
    looked = [not turns.has(what, is_dated=True) for what in range(10)]
    assert all(looked)
    turns.end(None)
    turns.begin()
    assert [turns.has(what, is_dated=True) for what in (9, 10)] == [False, True], "it goes on there"


def test_only_so_much_is_remembered_as_in_vain() -> None:
    turns = Turns()
    for count, is_kept in [(MAX_VAIN, True), (1, False)]:
        turns.begin()
        for what in range(count):
            turns.in_vain((count, what), MAX_EFFORT, is_dated=True)
        assert not turns.has("put off", is_dated=True)
        turns.end(None)
        turns.begin()
        assert turns.has((MAX_VAIN, 0), is_dated=True) != is_kept


def test_who_is_put_off_costs_no_look() -> None:
    queue = (whole(FIRST, "h100"), *in_vain(400))
    efforts = [
        [cycle(Looks(), *queue[:count], now=now).effort for count in (1, 101, 301, 401)]
        for now in (PATIENCE_S - 1, PATIENCE_S)
    ]
    none, first, third, fourth = (late - soon for soon, late in zip(*efforts, strict=True))
    assert fourth - third < (first - none) / 2


def test_who_is_first_by_now_is_kept_room_though_nobody_knows_when() -> None:
    looks, queue = Looks(), in_vain(400)
    cycle(looks, whole(FIRST, "h100"), *queue)
    assert cycle(looks, *queue).promised == {queue[0].job: math.inf}


# --- cycles that stop early -------------------------------------------------------------------

FEW = Limits(effort=2_000)
"""For about a third of the queues below."""


def short_cycles(looks: Looks, queue: tuple[Waiting, ...], *free: NodeOffer) -> list[Plan]:
    """Until one comes to the end of the queue."""
    plans = list[Plan]()
    while not plans or plans[-1].is_cut:
        assert len(plans) < 10, "they stop at the same place again and again"
        seen = snapshot(*nodes(math.inf)[:2], *free, waiting=queue, now=PATIENCE_S)
        plans.append(plan(seen, looks, FEW))
    return plans


def test_a_cycle_goes_on_behind_where_the_last_one_stopped() -> None:
    queue = (*in_vain(40), whole(GANG, "v100"))
    busy, idle = nodes(math.inf)[2], offer("d1", gpu_name="NVIDIA V100")
    plans = short_cycles(Looks(), queue, busy, idle)
    assert len(plans) > 1
    assert [one.job for each in plans for one in each.placements] == [GANG]
    assert plans[-1].waits.keys() == {each.job for each in queue} - {GANG}
    assert all(plans[-1].waits.values()), "each still says why it waits"


def test_who_is_as_large_but_has_another_quota_is_not_passed_over_with_it() -> None:
    """Both could run on the node that is free, but for the quota that does not reach for it."""
    alike = job().gpus(8).gpu_type("h100", "v100")
    limited = dataclasses.replace(waits(1_000, alike), quotas=(0,))
    queue = (limited, *in_vain(20), waits(GANG, alike))
    lean = offer("a1", free=0, cap_max_mw=300_000)
    idle = offer("d1", gpu_name="NVIDIA V100")
    seen = snapshot(lean, *nodes(math.inf)[1:], idle, waiting=queue, now=PATIENCE_S)
    quota = QuotaRoom("account lean", most_mw=2_000_000)
    looks = Looks()
    plans = [plan(dataclasses.replace(seen, quotas=(quota,)), looks, FEW) for _ in range(6)]
    assert plans[0].is_cut
    assert "quota of account lean" in plans[0].waits[limited.job]
    assert GANG in {one.job for each in plans for one in each.placements}


def test_what_becomes_free_meanwhile_goes_to_the_first_that_it_fits() -> None:
    looks, queue = Looks(), tuple(in_vain(40))
    busy, idle = nodes(math.inf)[2], offer("c1", gpu_name="NVIDIA L40S")
    first = snapshot(*nodes(math.inf)[:2], busy, waiting=queue, now=PATIENCE_S)
    assert plan(first, looks, FEW).is_cut
    placed = [one.job for each in short_cycles(looks, queue, idle) for one in each.placements]
    assert placed[:1] == [queue[0].job]
