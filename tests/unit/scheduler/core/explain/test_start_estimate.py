"""`explain` where work makes way, or would, for jobs before the one that is asked about."""

import pytest

from support.core.harness import Harness, joined
from support.core.parts import explain_job
from support.core.preempting import fill, is_slow_to_stop
from support.core.sites import job, site


def made(nodes: int) -> Harness:
    """So many nodes of eight GPUs."""
    return joined(site().rack("a", nodes).build())


def test_room_that_others_are_making_for_one_before_it_is_no_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    h = made(1)
    is_slow_to_stop(h, monkeypatch)
    fill(h, job().gpus(4).priority(25))
    first = h.submit(job().gpus(8).priority(75).runtime(600))
    assert (first, 0) in h.cluster.state.claims
    waits = h.job(h.submit(job().gpus(2)))
    view = explain_job(h.cluster.state, waits, h.now)
    assert f"reserved for job {first}" in view.reason
    assert view.start_why == f"after job {first} has run (ahead of it in the queue)"
    assert view.start_unix_s is not None
    assert view.start_unix_s - h.now.unix_s > 600


def test_who_makes_way_for_those_before_it_is_named_as_well() -> None:
    """One of the two would go to the first alone."""
    h = made(2)
    low = [h.submit(job().gpus(8).priority(25)) for _ in range(2)]
    h.submit(job().gpus(8).priority(75))
    waits = h.job(h.submit(job().gpus(8).priority(70)))
    view = explain_job(h.cluster.state, waits, h.now)
    named = ", ".join(f"job {number} (priority 25)" for number in low)
    assert (
        view.remedies[0].text == f"if {named} of lower priority were preempted it would start now"
    )
