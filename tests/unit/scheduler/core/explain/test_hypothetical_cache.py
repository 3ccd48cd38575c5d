"""The site as if some work had gone: looked at without a change, and made once for a question."""

from random import Random

import pytest

from support.core.harness import Harness, joined
from support.core.parts import outlook
from support.core.remembering import without_memory
from support.core.sites import job, site
from wattline_scheduler.core.admission.planner_view import snapshot
from wattline_scheduler.core.explain.hypothetical_cache import HypotheticalCache
from wattline_scheduler.plan.cycle import PATIENCE_S
from wattline_scheduler.time_slices import at_once


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 2).build())


def test_looks_change_nothing(h: Harness) -> None:
    numbers = [h.submit(job().gpus(6).priority(25)) for _ in range(2)]
    state = h.cluster.state
    before = snapshot(state, h.now)
    gone = at_once(HypotheticalCache(state, h.now).without([h.gang(n) for n in numbers]))
    assert all(len(offer.free) == 8 for offer in gone.nodes)
    assert (gone.columns.room_mw > before.columns.room_mw)[:-1].all()
    outlook(state, h.job(h.submit(job().gpus(8).priority(75))), h.now)
    assert snapshot(state, h.now).nodes == before.nodes
    h.run(1)


def test_what_is_remembered_between_looks_answers_as_if_each_was_the_first(h: Harness) -> None:
    """Behind unlike jobs the same ends are asked for again and again."""
    random = Random(1)
    for number in range(8):
        h.submit(job().gpus(2).priority(25).runtime(3_600 + 600 * number))
    for number in range(40):
        wanted = job().gpus(random.choice((1, 2, 4, 8))).memory(number + 1)
        wanted = wanted.nodes(random.choice((1, 1, 2))).priority(random.choice((25, 50)))
        h.submit(wanted.runtime(random.randrange(600, 6_000)) if number % 5 else wanted)
    h.run(PATIENCE_S + 5)
    state, starts = h.cluster.state, set[float | None]()
    for each in list(state.work.jobs.values()):
        view = outlook(state, each, h.now)
        assert view == without_memory(state, each, h.now)
        starts.add(view.start_unix_s)
    assert len(starts) > 5


def test_what_the_site_would_be_is_made_once_for_each_set_of_gangs(h: Harness) -> None:
    numbers = [h.submit(job().gpus(8)) for _ in range(2)]
    gone, gangs = HypotheticalCache(h.cluster.state, h.now), [h.gang(n) for n in numbers]
    seen = at_once(gone.without(gangs))
    assert at_once(gone.without(gangs)) is seen
    assert at_once(gone.without(gangs[:1])) is not seen
