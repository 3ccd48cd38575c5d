"""Orders of programs that do not report their checkpoints (`recovery.checkpoints`)."""

import pytest

from support.core.harness import Harness, joined
from support.core.sites import JobBuilder, job, site
from wattline_protocol.job.selection import only
from wattline_protocol.wire.agent_messages import StartTask
from wattline_protocol.wire.client_messages import Requeue
from wattline_protocol.wire.task_order import TaskOrder
from wattline_protocol.wire.task_reports.checkpoints import SavedCheckpoint


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 1).build())


def watched() -> JobBuilder:
    return job().gpus(1).checkpoints("out/checkpoint-*")


def orders(h: Harness) -> list[TaskOrder]:
    return [start.order for start in h.sent_to("a1", StartTask) if isinstance(start, StartTask)]


def test_a_later_attempt_is_told_what_was_saved_and_that_parts_may_be_left(h: Harness) -> None:
    number = h.submit(watched())
    (attempt,) = h.gang(number).live
    saved = SavedCheckpoint(step=30, bytes=9, save_s=0.1, unix_s=h.now.unix_s)
    h.agent("a1").tasks[attempt.record.ref].checkpoint = saved
    h.run(3)
    assert attempt.record.has_task_lease, "it lies where the program was, on shared storage"
    h.do(Requeue(only(number), "t"))
    h.end_tasks()
    h.run(3)
    first, second = orders(h)
    assert (first.checkpoints, first.has_run_before, first.saved_step) == (
        "out/checkpoint-*",
        False,
        None,
    )
    assert (second.has_run_before, second.saved_step) == (True, 30)


def test_an_agent_that_does_not_know_the_key_gets_no_such_task(h: Harness) -> None:
    h.node("a1").takes_recovery = False
    number = h.submit(watched())
    plain = h.submit(job().gpus(1))
    h.run(3)
    assert not [order for order in orders(h) if order.checkpoints]
    assert "a1 has an older agent or keeper" in h.gang(number).reason
    assert h.state_of(plain) == "RUNNING"
