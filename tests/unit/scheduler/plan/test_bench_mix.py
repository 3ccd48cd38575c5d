"""The queue and the fleet of `bench planner`: the same for the same seed, and work is placed."""

import pytest

from wattline_bench.planner import NO_LIMITS
from wattline_bench.rig.mix import Mix
from wattline_bench.rig.packed import NOW, Packed
from wattline_scheduler.core.lifecycle.planning import decide


def test_the_same_seed_draws_the_same_jobs_of_many_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATTLINE_TRACES", raising=False)
    jobs = Mix(1).jobs(500)
    assert jobs == Mix(1).jobs(500)
    assert jobs != Mix(2).jobs(500)
    assert len({repr(job.resources) for job in jobs}) > 50
    assert any(job.resources.most_nodes > 1 for job in jobs)


def test_the_packed_fleet_has_room_for_some_of_the_queue() -> None:
    state = Packed(40, 40, seed=1).state
    plan = decide(state, state.work.waiting(), NOW, NO_LIMITS)
    assert 0 < len(plan.placements) < 40
