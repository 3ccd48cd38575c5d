"""An answer that is found in parts is of the moment in which it was begun, whatever comes between.

So something happens after each few of the parts: the answer is the one found at once before, and
what happened would have changed it.
"""

from collections.abc import Callable

import msgspec
import pytest

from support.core.harness import Harness, end_one
from support.core.sites import job, site
from wattline_protocol.ids import NodeId
from wattline_protocol.job.selection import only
from wattline_protocol.site.model import Queue, Quota
from wattline_protocol.views.site_views import ExplainView
from wattline_protocol.wire.client_messages import Cancel, Drain, Shed, Update
from wattline_protocol.wire.reservations import Reserve
from wattline_scheduler.core.admission.planner_view import snapshot
from wattline_scheduler.core.explain import job_explanation as explanations
from wattline_scheduler.core.explain.frozen_view import frozen
from wattline_scheduler.time_slices import Parts, at_once

EACH = 3
"""Something happens after so many parts, and so many more, and so on."""


class Full:
    """Two nodes with four jobs that end one after the other, and two jobs that wait."""

    def __init__(self) -> None:
        plain = site().rack("a", 2, kw=40.0).site_budget(40.0).build()
        queues = Queue("default", Quota(gpus=14)), Queue("day")
        self.h = h = Harness(msgspec.structs.replace(plain, queues=queues))
        h.join()
        h.run(2)
        wanted = job().priority(25).memory(1)
        self.running = [
            h.submit(wanted.gpus(gpus).queue(queue).runtime(600 * number))
            for number, (gpus, queue) in enumerate(
                [(6, "default"), (2, "day"), (6, "default"), (2, "day")], start=1
            )
        ]
        self.ahead = h.submit(job().gpus(6).runtime(900))
        self.asked = h.submit(job().gpus(8).nodes(2).queue("day"))
        h.run(2)

    def leaves(self, name: str) -> None:
        self.h.agent(name).say_farewell()
        self.h.settle()

    def asks(self) -> Parts[ExplainView]:
        return explanations.explain_job(self.h.cluster.state, self.h.job(self.asked), self.h.now)


HAPPENS: dict[str, Callable[[Full], object]] = {
    "all end": lambda full: full.h.end_tasks(),
    "the first ends": lambda full: end_one(full.h, full.running[0], 0),
    "the last ends": lambda full: end_one(full.h, full.running[3], 0),
    "who is ahead goes": lambda full: full.h.do(Cancel(only(full.ahead))),
    "who runs is being stopped": lambda full: full.h.ask(Cancel(only(full.running[3]))),
    "another comes before it": lambda full: full.h.submit(job().gpus(8).priority(90)),
    "a node is drained": lambda full: full.h.do(Drain(NodeId("a1"))),
    "a node leaves": lambda full: full.leaves("a1"),
    "a budget falls": lambda full: full.h.ask(Shed(None, by_mw=36_000_000)),
    "a node is reserved": lambda full: full.h.do(
        Reserve("course", nodes=(NodeId("a1"),), users=("eve",), for_s=3_600.0)
    ),
    "it changes": lambda full: full.h.do(Update(only(full.asked), {"priority": "90"})),
    "it is cancelled": lambda full: full.h.do(Cancel(only(full.asked))),
}


@pytest.mark.parametrize("what", HAPPENS)
def test_what_happens_between_the_parts_is_not_in_the_answer(what: str) -> None:
    first = Full()
    at_first = at_once(first.asks())
    parts = sum(1 for _ in first.asks())
    assert parts > 5 * EACH
    HAPPENS[what](first)
    assert at_once(first.asks()) != at_first
    for after in range(1, parts, EACH):
        full = Full()
        asks = full.asks()
        for _ in range(after):
            next(asks)
        HAPPENS[what](full)
        assert at_once(asks) == at_first, f"{what} after {after} of {parts} parts"


def test_a_question_changes_nothing_in_parts_either() -> None:
    full, other = Full(), Full()
    state = full.h.cluster.state
    asks = full.asks()
    for _ in range(EACH):
        next(asks)
    assert snapshot(state, full.h.now).nodes == snapshot(other.h.cluster.state, other.h.now).nodes
    full.h.end_tasks()
    asks.close()
    full.h.end_tasks()
    assert full.h.state_of(full.asked) == "RUNNING"


def test_what_is_held_still_stays_as_it_was() -> None:
    full = Full()
    h, state = full.h, full.h.cluster.state
    still = frozen(state, h.now)
    before = snapshot(still, h.now)
    gangs = [h.gang(number) for number in full.running]
    live = [still.work.live_of(gang) for gang in gangs]
    HAPPENS["a budget falls"](full)
    HAPPENS["all end"](full)
    h.run(1)
    after = snapshot(still, h.now)
    assert after.nodes == before.nodes
    assert (after.columns.headroom_mw == before.columns.headroom_mw).all()
    assert [still.work.live_of(gang) for gang in gangs] == live
    assert [type(still.work.phase_of(gang)).__name__ for gang in gangs] == ["Running"] * 4
    assert still.work.quotas.headrooms() != state.work.quotas.headrooms()


def parts_on(nodes: int) -> int:
    """Of a question about a gang for which work of lower priority may make way, or ends."""
    h = Harness(site().rack("a", nodes).build())
    h.join()
    h.run(2)
    for number in range(nodes):
        h.submit(job().gpus(8).priority(25).runtime(600 + number))
    asked = h.submit(job().gpus(8).nodes(2).same_rack())
    return sum(1 for _ in explanations.explain_job(h.cluster.state, h.job(asked), h.now))


def test_each_node_that_is_looked_at_is_a_part_of_its_own() -> None:
    """As if its work had ended, and as one on which others would make way."""
    assert parts_on(8) - parts_on(4) >= 2 * 4
