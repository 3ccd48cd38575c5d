"""As many nodes as quotas allow a gang of a range of nodes."""

import dataclasses

import pytest

from support.core.sites import job
from support.core.snapshots import offer, shape, snapshot, waits
from wattline_scheduler.plan.cycle import PATIENCE_S, plan
from wattline_scheduler.plan.model.shape import Shape
from wattline_scheduler.plan.model.snapshot import QuotaHeadroom
from wattline_scheduler.plan.search import quota_headroom
from wattline_scheduler.plan.search.quota_headroom import STEPS_PER_SIZE, Held, Quotas, lacks
from wattline_scheduler.plan.search.trial import Trial

GPUS = QuotaHeadroom("queue gpus", most_milli=100_000, used_milli=40_000)
WATTS = QuotaHeadroom("queue watts", most_mw=9_000_000)
CLOSED = QuotaHeadroom("queue closed", closed="used up")
WIDE = QuotaHeadroom("queue wide", most_milli=10**9)


def quotas(*headrooms: QuotaHeadroom) -> Quotas:
    site = snapshot(offer("a1"), offer("b1", gpu_name="NVIDIA A100", cap_max_mw=300_000))
    return Quotas(Trial(dataclasses.replace(site, quotas=headrooms)))


def one_by_one(room: Quotas, numbers: tuple[int, ...], wanted: Shape) -> int:
    """The largest size that is allowed, as all are tried."""

    def is_allowed(size: int) -> bool:
        gang = wanted.resized(size, size)
        return not room.refuses(numbers, gang) and room.barred(numbers, gang) is None

    sizes = range(wanted.nodes + 1, wanted.most_nodes + 1)
    return max(filter(is_allowed, sizes), default=wanted.nodes)


@pytest.mark.parametrize("headrooms", [(GPUS,), (WATTS,), (GPUS, WATTS), (CLOSED,), (WIDE,), ()])
@pytest.mark.parametrize(("gpus", "least", "most"), [(1, 1, 200), (3, 4, 40), (8, 2, 2)])
def test_the_largest_size_that_all_quotas_allow(
    headrooms: tuple[QuotaHeadroom, ...], gpus: int, least: int, most: int
) -> None:
    room, numbers = quotas(*headrooms), tuple(range(len(headrooms)))
    wanted = shape(job().gpus(gpus).from_to(least, most))
    found = room.within(numbers, wanted)
    assert (found.nodes, found.most_nodes) == (least, one_by_one(room, numbers, wanted))


def test_a_few_of_thousands_of_sizes_are_evaluated_and_count_as_effort() -> None:
    """A plan took 0.1 s for each job of 1 to 4,096 nodes, and did not count it as effort."""
    room = quotas(GPUS)
    before = room._trial.effort
    assert room.within((0,), shape(job().gpus(1).from_to(1, 4_096))).most_nodes == 60
    assert 0 < room._trial.effort - before <= 12 * STEPS_PER_SIZE


def test_why_a_job_waits_for_a_quota_is_put_into_words_once_a_plan(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the rest of the quota is reserved for it: of 50,000 jobs a second of each plan."""
    full = QuotaHeadroom("queue full", most_milli=8_000, used_milli=8_000)
    jobs = [dataclasses.replace(waits(number, job()), quotas=(0,)) for number in range(1, 4)]
    site = snapshot(offer("a1"), waiting=tuple(jobs), now=2 * PATIENCE_S)
    words = list[str]()

    def noted(quota: QuotaHeadroom, wants: Held) -> str:
        words.append(lacks(quota, wants))
        return words[-1]

    monkeypatch.setattr(quota_headroom, "lacks", noted)
    found = plan(dataclasses.replace(site, quotas=(full,)))
    assert [*found.waits.values()] == words
    assert ["1 GPU reserved" in why for why in words] == [False, True, False]
