"""Who may have room looked for: what is in vain for many keeps it from nobody for ever."""

import dataclasses
import math

from support.core.sites import job
from support.core.snapshots import offer, shape, snapshot, waits
from wattline_protocol.ids import Instant, JobId
from wattline_scheduler.plan.cycle import INTERACTIVE, PATIENCE_S, Limits, plan
from wattline_scheduler.plan.model.memory import EMPTY, Memory, Request
from wattline_scheduler.plan.model.reserved_nodes import EVERYWHERE
from wattline_scheduler.plan.model.shape import Waiting
from wattline_scheduler.plan.model.snapshot import NodeOffer, Plan, QuotaHeadroom, Snapshot
from wattline_scheduler.plan.search.search_rotation import MAX_EFFORT, MAX_FAILED, SearchRotation

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


class Cycles:
    """Cycles that pass their memory on."""

    def __init__(self) -> None:
        self.memory = EMPTY

    def plan(self, seen: Snapshot, limits: Limits = INTERACTIVE) -> Plan:
        result = plan(seen, self.memory, limits)
        self.memory = result.memory
        return result

    def next(self, *queue: Waiting, ends: float = math.inf, now: float = PATIENCE_S) -> Plan:
        return self.plan(snapshot(*nodes(ends), waiting=queue, now=now))


def request(number: int) -> Request:
    return shape(job().memory(number + 1)), EVERYWHERE


def begun_after(rotation: SearchRotation) -> SearchRotation:
    """The rotation of the next cycle, after one that reached the end of the queue."""
    reserved, failed, passed = rotation.end(None)
    return SearchRotation(Memory(1, reserved, failed, passed))


def test_what_is_in_vain_takes_no_promise_from_who_can_be_kept_room() -> None:
    queue = (whole(FIRST, "h100"), *in_vain(50), whole(GANG, "a100"))
    assert Cycles().next(*queue).promised == {FIRST: SOON, GANG: LATER}


def test_all_have_their_turn_however_many_look_in_vain_and_it_stays_theirs() -> None:
    cycles, queue = Cycles(), (whole(FIRST, "h100"), *in_vain(400), whole(GANG, "a100"))
    plans = [cycles.next(*queue) for _ in range(20)]
    is_kept = [one.promised == {FIRST: SOON, GANG: LATER} for one in plans]
    assert not is_kept[0], "there are too many for one cycle"
    assert any(is_kept[:5])
    assert all(is_kept[is_kept.index(True) :]), "it is not given up while others have their turn"
    assert {job for one in plans for job in one.promised} == {FIRST, GANG}


def test_what_was_in_vain_has_another_turn_once_all_had_theirs() -> None:
    cycles, queue = Cycles(), (whole(FIRST, "h100"), *in_vain(400))
    for _ in range(20):
        assert cycles.next(*queue).promised == {FIRST: SOON}
    later = [cycles.next(*queue, ends=LATER).promised for _ in range(5)]
    assert len(later[-1]) == 2, "it is known by now when"


def test_failed_searches_of_a_cycle_are_bounded_and_the_next_one_continues_behind_them() -> None:
    rotation, each = SearchRotation(EMPTY), MAX_EFFORT // 10
    for number in range(100):
        if rotation.may_search(request(number), is_dated=True):
            rotation.failed(request(number), each, is_dated=True)
    assert not any(rotation.may_search(request(number), is_dated=True) for number in range(10))
    rotation = begun_after(rotation)
    permitted = [rotation.may_search(request(number), is_dated=True) for number in (9, 10)]
    assert permitted == [False, True]


def test_the_number_of_remembered_failed_searches_is_bounded() -> None:
    rotation = SearchRotation(EMPTY)
    for first, count, is_kept in [(0, MAX_FAILED, True), (MAX_FAILED, 1, False)]:
        for number in range(first, first + count):
            rotation.failed(request(number), MAX_EFFORT, is_dated=True)
        assert not rotation.may_search(request(2 * MAX_FAILED), is_dated=True), "it is put off"
        rotation = begun_after(rotation)
        assert rotation.may_search(request(0), is_dated=True) != is_kept


def test_who_is_put_off_costs_no_look() -> None:
    queue = (whole(FIRST, "h100"), *in_vain(400))
    efforts = [
        [Cycles().next(*queue[:count], now=now).effort for count in (1, 101, 301, 401)]
        for now in (PATIENCE_S - 1, PATIENCE_S)
    ]
    none, first, third, fourth = (late - soon for soon, late in zip(*efforts, strict=True))
    assert fourth - third < (first - none) / 2


def test_who_is_first_by_now_is_kept_room_though_nobody_knows_when() -> None:
    cycles, queue = Cycles(), in_vain(400)
    cycles.next(whole(FIRST, "h100"), *queue)
    assert cycles.next(*queue).promised == {queue[0].job: math.inf}


# --- cycles that stop early -------------------------------------------------------------------

FEW = Limits(effort=2_000)
"""For about a third of the queues below."""


def short_cycles(cycles: Cycles, queue: tuple[Waiting, ...], *free: NodeOffer) -> list[Plan]:
    """Until one comes to the end of the queue."""
    plans = list[Plan]()
    while not plans or plans[-1].is_cut:
        assert len(plans) < 10, "they stop at the same place again and again"
        seen = snapshot(*nodes(math.inf)[:2], *free, waiting=queue, now=PATIENCE_S)
        plans.append(cycles.plan(seen, FEW))
    return plans


def test_a_cycle_goes_on_behind_where_the_last_one_stopped() -> None:
    queue = (*in_vain(40), whole(GANG, "v100"))
    busy, idle = nodes(math.inf)[2], offer("d1", gpu_name="NVIDIA V100")
    plans = short_cycles(Cycles(), queue, busy, idle)
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
    quota = QuotaHeadroom("account lean", most_mw=2_000_000)
    cycles = Cycles()
    plans = [cycles.plan(dataclasses.replace(seen, quotas=(quota,)), FEW) for _ in range(6)]
    assert plans[0].is_cut
    assert "quota of account lean" in plans[0].waits[limited.job]
    assert GANG in {one.job for each in plans for one in each.placements}


def test_what_becomes_free_meanwhile_goes_to_the_first_that_it_fits() -> None:
    cycles, queue = Cycles(), tuple(in_vain(40))
    busy, idle = nodes(math.inf)[2], offer("c1", gpu_name="NVIDIA L40S")
    first = snapshot(*nodes(math.inf)[:2], busy, waiting=queue, now=PATIENCE_S)
    assert cycles.plan(first, FEW).is_cut
    placed = [one.job for each in short_cycles(cycles, queue, idle) for one in each.placements]
    assert placed[:1] == [queue[0].job]
