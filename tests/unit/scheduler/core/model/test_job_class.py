"""The queue as the planner sees it: of equal jobs as many as a cycle can place, none forgotten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.core.harness import Harness, joined
from support.core.sites import job, site
from wattline_protocol.ids import JobId
from wattline_scheduler.core.lifecycle.job_state import reason_of
from wattline_scheduler.core.model.jobs.sorted_numbers import SortedNumbers
from wattline_scheduler.core.model.queue.runtime_bounds import RUNS_NEEDED
from wattline_scheduler.plan.cycle import MAX_PLACEMENTS

FEW = 3


@pytest.fixture
def h(monkeypatch: pytest.MonkeyPatch) -> Harness:
    """Two busy nodes, and a planner that looks at three jobs of a line."""
    monkeypatch.setattr("wattline_scheduler.core.model.queue.queue.MAX_PLACEMENTS", FEW)
    harness = joined(site().rack("a", 2, kw=40.0).site_budget(40.0).build())
    for _ in range(2):
        harness.submit(job().gpus(8))
    harness.run(2)
    return harness


def looked_at(h: Harness) -> list[int]:
    return [waiting.job for waiting in h.cluster.state.work.waiting()]


def test_of_equal_jobs_the_planner_sees_those_in_front(h: Harness) -> None:
    numbers = [h.submit(job().gpus(8)) for _ in range(FEW + 2)]
    assert looked_at(h) == numbers[:FEW]


def test_jobs_that_differ_stand_in_lines_of_their_own_in_the_order_of_the_queue(h: Harness) -> None:
    large = [h.submit(job().gpus(8)) for _ in range(FEW + 1)]
    small = [h.submit(job().gpus(7).priority(90)) for _ in range(FEW + 1)]
    assert looked_at(h) == small[:FEW] + large[:FEW]


def test_the_most_urgent_of_a_line_is_seen_however_late_it_came(h: Harness) -> None:
    numbers = [h.submit(job().gpus(8)) for _ in range(FEW + 1)]
    urgent = h.submit(job().gpus(8).priority(90))
    assert looked_at(h) == [urgent, *numbers[:FEW]]


def test_jobs_whose_run_time_becomes_known_change_their_class_together(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tens of thousands may be of one kind: queued again one by one they would take a second."""
    work, queued = h.cluster.state.work, list[JobId]()
    numbers = [h.submit(job().gpus(8)) for _ in range(FEW + 2)]
    others = [h.submit(job().gpus(8).command("other")) for _ in range(FEW)]
    monkeypatch.setattr(work.queue, "set", lambda one, **_: queued.append(one.id))
    gang, kind = h.gang(JobId(1)), h.job(numbers[0]).kind
    for _ in range(RUNS_NEEDED):
        work.learn(gang, 100.0, is_end=True, is_done=True)
    assert not queued
    assert {h.job(number).job_class for number in numbers} == {h.job(numbers[-1]).job_class}
    entries = {one.key.kind: [at[1] for at in one.entries] for one in work.queue.classes.values()}
    assert entries == {kind: numbers, "": others}
    assert [each.runs_s for each in work.waiting()] == [130.0] * FEW + [None] * FEW
    assert (work.queue.unknown(kind), work.queue.unknown(h.job(others[0]).kind)) == ([], others)


def test_who_stands_behind_waits_for_the_same_reason(h: Harness) -> None:
    numbers = [h.submit(job().gpus(8)) for _ in range(FEW + 2)]
    h.run(2)
    reasons = {reason_of(h.job(number), "PENDING") for number in numbers}
    assert len(reasons) == 1
    assert "more free GPUs" in reasons.pop()


def test_everybody_in_a_long_line_gets_a_turn(h: Harness) -> None:
    numbers = [h.submit(job().gpus(8)) for _ in range(3 * FEW)]
    for _ in numbers:
        h.end_tasks()
        h.run(2)
    assert {h.state_of(number) for number in numbers} == {"COMPLETED"}


def test_a_cycle_places_no_more_than_it_is_shown() -> None:
    assert MAX_PLACEMENTS == 256


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20))), st.integers(0, 25))
def test_sorted_numbers_are_a_set(moves: list[tuple[bool, int]], count: int) -> None:
    numbers, model = SortedNumbers(), set[int]()
    for is_added, number in moves:
        (numbers.add if is_added else numbers.discard)(number)
        (model.add if is_added else model.discard)(number)
    assert list(numbers) == sorted(model)
    assert numbers.first(count) == tuple(sorted(model)[:count])
    assert len(numbers) == len(model)
    assert all((number in numbers) == (number in model) for number in range(-1, 22))
