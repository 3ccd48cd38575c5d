"""Intervals of checkpoints by failures: at each start, after a loss, across a restart."""

from support.core.harness import Harness, end_one, joined
from support.core.sites import job, site
from wattline_protocol.ids import JobId
from wattline_protocol.text.quantities import MAX_DURATION_S
from wattline_protocol.wire.agent_messages import StartTask
from wattline_protocol.wire.task_order import TaskOrder
from wattline_scheduler.plan.learning.checkpoint_interval import (
    PRIOR_S,
    UNKNOWN_SAVE_S,
    interval_s,
)


def newest_order(h: Harness, number: JobId) -> TaskOrder:
    (attempt, *_) = h.gang(number).live
    starts = h.sent_to(attempt.node, StartTask)
    return [one.order for one in starts if isinstance(one, StartTask)][-1]


def test_it_follows_from_the_number_of_nodes_until_failures_were_seen() -> None:
    h = joined(site().rack("a", 2).build())
    number = h.submit(job("train").gpus(8).nodes(2).saves_by_failures())
    h.run(20)
    order = newest_order(h, number)
    assert order.failure_free_s == PRIOR_S / 2
    assert order.checkpoint_every_s == interval_s(UNKNOWN_SAVE_S, PRIOR_S / 2)
    agent = h.agents[h.gang(number).live[0].node]
    agent.tasks.clear()  # it is lost with its node
    h.run(60)
    after = newest_order(h, number)
    assert after.ref.attempt > order.ref.attempt
    assert after.failure_free_s < order.failure_free_s * 0.7
    h.restart_scheduler()
    h.run(5)
    assert h.job(number).failure_free_s < order.failure_free_s * 0.7


def test_on_nodes_that_never_fail_it_is_one_that_an_agent_accepts() -> None:
    h = joined(site().rack("a", 1).build())
    end_one(h, h.submit(job("old").gpus(8)), 0, run_s=2 * MAX_DURATION_S)
    number = h.submit(job("train").gpus(8).saves_by_failures())
    assert newest_order(h, number).failure_free_s == MAX_DURATION_S


def test_a_fixed_interval_is_passed_on_as_it_is() -> None:
    h = joined(site().rack("a", 1).build())
    number = h.submit(job("train").gpus(1))
    h.run(20)
    order = newest_order(h, number)
    assert (order.checkpoint_every_s, order.failure_free_s) == (0.0, 0.0)
