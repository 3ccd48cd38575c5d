"""The queue of `bench planner`: shapes of jobs, the same for the same seed."""

import pytest

from wattline_bench.rig.mix import Mix


def test_the_same_seed_draws_the_same_jobs_of_many_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATTLINE_TRACES", raising=False)
    jobs = Mix(1).jobs(500)
    assert jobs == Mix(1).jobs(500)
    assert jobs != Mix(2).jobs(500)
    assert len({repr(job.resources) for job in jobs}) > 50
    assert any(job.resources.nodes > 1 for job in jobs)
