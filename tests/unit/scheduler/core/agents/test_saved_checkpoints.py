"""Checkpoints that tasks report: known at once, durable, stored now and then."""

from support.core.harness import Harness
from support.core.sites import job, site
from wattline_protocol.ids import JobId, UnixTime
from wattline_protocol.wire.task_reports.checkpoints import CheckpointTrouble, SavedCheckpoint
from wattline_scheduler.core.agents.checkpoint_reports import STORE_S
from wattline_scheduler.core.lifecycle.job_state import reason_of
from wattline_scheduler.core.model.journal import USER_EVENTS


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
    h.run(STORE_S)
    assert attempt.record.checkpoint == second


def fail(h: Harness, number: JobId, step: int, in_a_row: int, run_s: float = 2.0) -> None:
    """The first task of the job cannot save."""
    why, at = "OSError: No space left on device", UnixTime(h.now.unix_s)
    attempt = h.gang(number).live[0]
    task = h.agent(attempt.node).tasks[attempt.record.ref]
    task.checkpoint_trouble = CheckpointTrouble("save_failed", step, why, at, in_a_row)
    h.run(run_s)


def test_what_the_tasks_of_one_user_report_is_bounded_on_all_nodes_together() -> None:
    h = Harness(site().rack("a", 4).site_budget(100.0).build())
    h.join()
    numbers = [h.submit(job().gpus(8)) for _ in range(3)]
    other = h.submit(job().gpus(8), user="bob")
    h.run(2.0)
    before = len(h.events("save_failed"))
    for step in range(25):
        for number in numbers:
            fail(h, number, step, in_a_row=1, run_s=0.5)
    fail(h, other, 1, in_a_row=1)
    written = h.events("save_failed")[before:]
    assert [event.job for event in written].count(other) == 1
    assert len(written) == USER_EVENTS + 1
    h.run(61.0)
    (event,) = h.events("events_dropped")
    assert event.text.startswith("tasks of ada: 15 more events within a minute, the last: ")


def test_a_save_that_failed_is_an_event_and_the_second_in_a_row_a_warning() -> None:
    h = cluster()
    number = h.submit(job().gpus(1))
    h.run(2.0)
    fail(h, number, 10, in_a_row=1)
    (event,) = h.events("save_failed")
    assert (event.job, event.level) == (number, "warning")
    assert "step 10 was not saved: OSError: No space left on device" in event.text
    assert reason_of(h.job(number), "RUNNING") == ""
    fail(h, number, 20, in_a_row=2)
    assert len(h.events("save_failed")) == 2
    warning = "its newest 2 checkpoints were not saved: OSError: No space left on device"
    assert reason_of(h.job(number), "RUNNING") == warning
    h.restart_scheduler()
    h.run(3.0)
    assert reason_of(h.job(number), "RUNNING") == warning
    assert len(h.events("save_failed")) == 2
    attempt = h.gang(number).live[0]
    h.agent(attempt.node).tasks[attempt.record.ref].checkpoint_trouble = None
    save(h, number, 30)
    assert reason_of(h.job(number), "RUNNING") == ""
