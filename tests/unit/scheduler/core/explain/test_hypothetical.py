"""The site as if some work had ended: tried without a change of the state."""

from random import Random

import pytest

from support.core.harness import Harness, joined
from support.core.parts import explain_job
from support.core.remade_offers import compare
from support.core.sites import job, site
from wattline_scheduler.core.admission.planner_view import snapshot
from wattline_scheduler.plan.cycle import PATIENCE_S


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 2).build())


def test_questions_change_nothing(h: Harness) -> None:
    for _ in range(2):
        h.submit(job().gpus(6).priority(25))
    state = h.cluster.state
    before = snapshot(state, h.now)
    explain_job(state, h.job(h.submit(job().gpus(8).priority(75))), h.now)
    assert snapshot(state, h.now).nodes == before.nodes
    h.run(1)


def test_what_ended_gangs_give_back_is_free_for_every_priority(h: Harness) -> None:
    random = Random(1)
    numbers = [
        h.submit(job().gpus(random.choice((1, 2))).priority(random.choice((25, 50, 75))))
        for _ in range(8)
    ]
    gangs = [h.gang(number) for number in numbers]
    assert any(gang.live for gang in gangs)
    for _ in range(20):
        some = [gang for gang in gangs if random.random() < 0.5]
        compare(h.cluster.state, some, h.now, is_exact=True)


def test_jobs_behind_unlike_ones_get_unlike_estimates(h: Harness) -> None:
    random = Random(1)
    for number in range(8):
        h.submit(job().gpus(2).priority(25).runtime(3_600 + 600 * number))
    for number in range(40):
        wanted = job().gpus(random.choice((1, 2, 4, 8))).memory(number + 1)
        wanted = wanted.nodes(random.choice((1, 1, 2))).priority(random.choice((25, 50)))
        h.submit(wanted.runtime(random.randrange(600, 6_000)) if number % 5 else wanted)
    h.run(PATIENCE_S + 5)
    state = h.cluster.state
    starts = {explain_job(state, each, h.now).start_unix_s for each in state.work.jobs.values()}
    assert len(starts) > 5
