"""A rank that its gang waits for: an event with its cause, its state, and the diagnosis."""

import pytest

from support.core.harness import Harness, joined, running
from support.core.sites import job, site
from wattline_protocol.ids import GpuIndex, JobId, TaskNo
from wattline_protocol.job.ranks import gpus_of_rank, ranks_of
from wattline_protocol.views.training_views import SlowCause
from wattline_protocol.wire.task_reports.rank_steps import RankSteps
from wattline_scheduler.core.lifecycle.straggler_rule import LEAST_STEPS, cause_of, usual_of
from wattline_scheduler.core.model.usage.rank_watch import Signals
from wattline_scheduler.views.jobs_view import job_in_memory
from wattline_scheduler.views.ranks_view import rank_views, slow_sentence

RANKS = 4


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 2, kw=30.0).build())


def submit(h: Harness) -> JobId:
    number = h.submit(job().gpus(2).nodes(2).torchrun().retries(1))
    h.run(5)
    return number


def train(h: Harness, number: JobId, steps: int, **busy_s: float) -> None:
    """All ranks come to this step; `r3=0.9` is the busy time of rank 3, 0.5 that of the others."""
    for node, ref in running(h, number):
        first = ref.task % 2 * 2
        h.agent(node).tasks[ref].ranks = tuple(
            RankSteps(rank, 100 + rank, steps, 1.0, busy_s.get(f"r{rank}", 0.5), min(steps, 20))
            for rank in (first, first + 1)
        )
    h.run(3)


def test_a_slow_rank_is_named_once_with_its_cause_and_again_when_it_keeps_up(h: Harness) -> None:
    number = submit(h)
    h.agent("a1").wants_mw, h.agent("a2").wants_mw = 200_000, 900_000  # more than its caps
    train(h, number, LEAST_STEPS - 1, r3=0.9)
    assert not h.events("straggler"), "too few steps"
    for step in (20, 21, 22):
        train(h, number, step, r3=0.9)
    (event,) = h.events("straggler")
    assert event.text == (
        "'work': rank 3 on a2 is 80 % slower than the median of its gang: "
        "its power cap reduces the clocks"
    )
    assert event.level == "warning"
    found = job_in_memory(h.job(number), h.site.tariff).diagnosis
    views = {view.rank: view for view in rank_views(h.job(number))}
    assert found is None, "lists have no diagnosis"
    assert [views[rank].state for rank in range(RANKS)] == ["running"] * 3 + ["slow"]
    assert (views[3].cause, views[3].step, views[3].step_s, views[3].pid) == (
        "capped",
        22,
        1.0,
        103,
    )
    view = job_in_memory(h.job(number), h.site.tariff, with_attempts=True)
    assert view.diagnosis is not None
    assert "rank 3 on a2 is 80 % slower" in view.diagnosis.sentence

    train(h, number, 30, r3=0.54)
    assert not h.events("straggler_over"), "it is still 8 % slower"
    train(h, number, 40)
    assert [event.text for event in h.events("straggler_over")] == [
        "'work': rank 3 is no longer slower than the others"
    ]
    train(h, number, 50, r3=0.9)
    assert len(h.events("straggler")) == 1, "it was named a moment ago"


def test_ranks_that_a_task_does_not_have_name_nobody(h: Harness) -> None:
    number = submit(h)
    node, ref = running(h, number)[0]
    foreign = [RankSteps(rank, 1, 90, 1.0, 1.0 + rank, 20) for rank in (2, 3, 4, 2**31 - 1)]
    h.agent(node).tasks[ref].ranks = tuple(foreign)
    h.run(3)
    assert not h.events("straggler")
    assert {view.step for view in rank_views(h.job(number))} == {None}


def test_a_new_attempt_begins_without_stragglers(h: Harness) -> None:
    number = submit(h)
    for step in (20, 30, 40):
        train(h, number, step, r0=0.9)
    assert h.events("straggler")
    assert "rank 0 on a1" in slow_sentence(h.job(number))
    h.end_tasks(code=1)
    h.run(20)
    assert [view.state for view in rank_views(h.job(number))] == ["running"] * RANKS
    assert not slow_sentence(h.job(number))


USUAL = Signals(capped=0.0, hot=0.0, clock_mhz=1900.0, util=1.0)


@pytest.mark.parametrize(
    ("slow", "cause"),
    [
        (USUAL._replace(capped=0.9, clock_mhz=1700.0), "capped"),
        (USUAL._replace(capped=0.9, clock_mhz=None), "capped"),
        (USUAL._replace(capped=0.9, hot=0.5, clock_mhz=1700.0), "hot"),
        (USUAL._replace(capped=0.9), "unknown"),
        (USUAL._replace(hot=0.9, util=0.5), "input"),
        (USUAL._replace(clock_mhz=1700.0), "clocks"),
        (USUAL._replace(util=0.6), "input"),
        (USUAL, "unknown"),
        (USUAL._replace(clock_mhz=None, util=None), "unknown"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_cause_follows_from_its_gpus(slow: Signals, cause: SlowCause) -> None:
    assert cause_of(slow, usual_of([USUAL] * 3)) == cause


def test_a_rank_has_an_even_part_of_the_gpus_of_its_task() -> None:
    spec, gpus = job().gpus(4).nodes(2).torchrun().build(), tuple(map(GpuIndex, (0, 2, 5, 7)))
    assert ranks_of(spec, TaskNo(1)) == range(4, 8)
    assert gpus_of_rank(spec, gpus, 2) == (5,)
    assert gpus_of_rank(job().gpus(4).nodes(2).build(), gpus, 0) == gpus
