"""Checkpoints that tasks report: known at once, durable, stored now and then."""

from support.core.harness import Harness
from support.core.sites import job, site
from wattline_protocol.ids import JobId, UnixTime
from wattline_protocol.wire.agent_messages import SavedCheckpoint
from wattline_scheduler.core.agents.task_reports import CHECKPOINT_STORE_S


def cluster() -> Harness:
    h = Harness(site().rack("a", 1).site_budget(10.0).build())
    h.join()
    return h


def save(h: Harness, number: JobId, step: int) -> SavedCheckpoint:
    """The first task of the job publishes one."""
    saved = SavedCheckpoint(step=step, bytes=1 << 30, save_s=2.5, unix_s=UnixTime(h.now.unix_s))
    attempt = h.gang(number).live[0]
    h.agent(attempt.node).tasks[attempt.record.ref].checkpoint = saved
    h.run(2.0)
    return saved


def test_the_newest_is_shown_and_survives_a_restart_of_the_scheduler() -> None:
    h = cluster()
    number = h.submit(job().gpus(1))
    h.run(2.0)
    assert h.gang(number).checkpoint is None
    saved = save(h, number, 40)
    assert h.gang(number).checkpoint == saved
    h.restart_scheduler()
    assert h.gang(number).checkpoint == saved  # before the agent has reported again
    newest = save(h, number, 50)
    assert h.gang(number).checkpoint == newest


def test_many_in_a_row_are_shown_and_stored_now_and_then() -> None:
    h = cluster()
    number = h.submit(job().gpus(1))
    h.run(2.0)
    first = save(h, number, 1)
    second = save(h, number, 2)
    attempt = h.gang(number).live[0]
    assert (attempt.checkpoint, attempt.record.checkpoint) == (second, first)
    h.run(CHECKPOINT_STORE_S)
    assert attempt.record.checkpoint == second
