"""What an interruption cost, by the lines of the attempts before and after it."""

import pytest

from wattline_bench.resume.run import figures
from wattline_bench.resume.timeline import (
    Attempt,
    Cost,
    Interruption,
    Line,
    Ours,
    cost_of,
    double_runs,
)


def attempt(number: int, began_s: float, *steps: int, ended_s: float = 0.0) -> Attempt:
    """A step a second, from two seconds after its start on."""
    lines = tuple(Line(began_s + 2.0 + at, step) for at, step in enumerate(steps))
    last_s = lines[-1].unix_s if lines else began_s
    closed_s, nodes = last_s + 1.0, (f"n{number}",)
    return Attempt(number, lines, began_s, 0.25, max(ended_s, last_s), closed_s, nodes)


def ours(whole_s: float) -> Ours:
    """In three parts."""
    return Ours(whole_s - 0.75, 0.5, 0.25)


def test_a_planned_interruption_loses_nothing() -> None:
    attempts = [attempt(1, 0.0, 1, 2, 3), attempt(2, 10.0, 4, 5)]
    cost = cost_of(Interruption("sigterm", 3.5), attempts)
    assert (cost.lost_steps, cost.to_next_step_s) == (0, 8.5)
    assert cost.ours == Ours(stop_s=1.5, start_s=5.0, rendezvous_s=0.25)


def test_steps_done_again_are_lost_and_are_no_use() -> None:
    attempts = [attempt(1, 0.0, 1, 2, 3, 4), attempt(2, 10.0), attempt(3, 20.0, 3, 4, 5)]
    cost = cost_of(Interruption("sigkill_rank", 6.0), attempts)
    assert cost.lost_steps == 2
    assert cost.to_next_step_s == 24.0 - 6.0, "until step 5"
    assert cost.ours is not None
    assert cost.ours.whole_s == 14.25, "the attempt that never made a step is none"


def test_a_shed_counts_from_the_restored_budget_and_has_no_new_attempt() -> None:
    attempts = [Attempt(1, (Line(1.0, 1), Line(2.0, 2), Line(60.0, 3)), 0.0, 0.1, 60.0)]
    assert cost_of(Interruption("shed", 50.0), attempts) == Cost("shed", 0, 10.0, None)


def test_a_shed_in_which_the_task_was_killed_loses_steps() -> None:
    attempts = [attempt(1, 0.0, 1, 2, 3), attempt(2, 60.0, 2, 3, 4)]
    assert cost_of(Interruption("shed", 50.0), attempts) == Cost("shed", 2, 14.0, None)
    with pytest.raises(ValueError, match="no step after the shed"):
        cost_of(Interruption("shed", 50.0), attempts[:1])


def test_a_host_that_was_lost_is_left() -> None:
    attempts = [attempt(1, 0.0, 1, 2), attempt(2, 40.0, 2, 3)]
    assert cost_of(Interruption("node", 3.5, "n1"), attempts).is_elsewhere
    assert not cost_of(Interruption("node", 3.5, "n2"), attempts).is_elsewhere


def test_what_never_went_on_is_an_error() -> None:
    with pytest.raises(ValueError, match="no step after node"):
        cost_of(Interruption("node", 4.0), [attempt(1, 0.0, 1, 2)])
    with pytest.raises(ValueError, match="no new step after node"):
        cost_of(Interruption("node", 4.0), [attempt(1, 0.0, 1, 2), attempt(2, 9.0, 1, 2)])
    with pytest.raises(ValueError, match="before"):
        cost_of(Interruption("node", 1.0), [attempt(1, 0.0, 1, 2), attempt(2, 9.0, 3)])


def test_attempts_that_overlap_are_double_runs() -> None:
    one, two = attempt(1, 0.0, 1, 2), attempt(2, 10.0, 3)
    assert double_runs([one, two]) == 0
    assert double_runs([attempt(1, 0.0, 1, ended_s=10.5), two]) == 1


@pytest.mark.parametrize(
    ("costs", "is_equal", "doubles", "missed"),
    [
        ([Cost("sigterm", 0, 9.0, ours(1)), Cost("node", 5, 50.0, ours(44))], True, 0, []),
        ([Cost("preempt", 1, 9.0, ours(1))], True, 0, ["steps lost to planned"]),
        ([Cost("node", 6, 9.0, ours(1))], True, 0, ["steps lost to others"]),
        ([Cost("sigkill_rank", 0, 9.0, ours(2.5))], True, 0, ["ours after SIGKILL"]),
        ([Cost("node", 0, 50.0, ours(46), False)], True, 0, ["loss of a host", "on the lost"]),
        ([Cost("shed", 0, 2.0, None)], False, 1, ["weights differ", "double runs"]),
    ],
)
def test_each_bar_is_held(
    costs: list[Cost], is_equal: bool, doubles: int, missed: list[str]
) -> None:
    found = figures(costs, is_equal=is_equal, doubles=doubles, workloads=("digits",))
    misses = found.misses()
    assert len(misses) == len(missed)
    assert all(any(part in miss for miss in misses) for part in missed)
    assert found.kills == sum(found.by.values()) == len(costs)
