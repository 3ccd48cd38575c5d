"""How long work is taken to run at most: its limit, or what its kind was seen to take."""

import pytest

from support.harness import Harness
from support.sites import job, site
from wattline_scheduler.core.longest import RUNS_NEEDED, SAFETY


@pytest.fixture
def h() -> Harness:
    return Harness(site().rack("a", 2).build())


def most_s(h: Harness, number: int) -> float | None:
    return h.cluster.state.work.longest.most_s(h.cluster.state.work.jobs[number])  # type: ignore[index]  # ids are ints


def test_nobody_knows_without_a_limit(h: Harness) -> None:
    assert most_s(h, h.submit(job().grace(5))) is None


def test_a_limit_is_known_with_the_grace_after_it(h: Harness) -> None:
    assert most_s(h, h.submit(job().runtime(100).grace(5))) == 105


def test_what_the_kind_was_seen_to_take_corrects_it(h: Harness) -> None:
    number = h.submit(job().runtime(1_000).grace(5))
    state = h.cluster.state
    for ran_s in (30.0, 40.0, 20.0)[:RUNS_NEEDED]:
        assert most_s(h, number) == 1_005, "too few runs are known"
        state.work.longest.note(state.work.jobs[number].kind, ran_s)
    assert most_s(h, number) == 40 * SAFETY + 5
    assert most_s(h, h.submit(job().command("other").grace(5))) is None


def test_a_service_ends_when_it_is_told_to(h: Harness) -> None:
    assert most_s(h, h.submit(job().service(1).runtime(100))) is None
