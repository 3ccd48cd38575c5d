"""What follows a try: back-offs, crash loops that are held, services without end."""

import pytest

from support.core.harness import Harness, end_one, joined, running
from support.core.sites import job, site
from wattline_protocol.ids import JobId
from wattline_protocol.job.selection import only
from wattline_protocol.job.spec import ArraySpec
from wattline_protocol.wire.agent_messages import TaskPhase
from wattline_protocol.wire.client_messages import Cancel, Release, Requeue
from wattline_protocol.wire.task_reports.checkpoints import SavedCheckpoint
from wattline_scheduler.core.lifecycle.ending import (
    CRASH_RUN_S,
    HEALTHY_RUN_S,
    LONGEST_BACKOFF_S,
    MAX_LOSSES,
    MAX_SHORT_FAILURES,
)
from wattline_scheduler.core.lifecycle.job_state import reason_of
from wattline_scheduler.core.model.events import TimePassed
from wattline_scheduler.core.model.jobs import job_index
from wattline_scheduler.core.model.jobs.job import CRASHES_HELD, MAX_ATTEMPTS_KEPT, Pending


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 1).build())


def wait_s(h: Harness, number: JobId) -> float:
    """How long its first gang backs off; then it runs again."""
    phase = h.gang(number).phase
    assert isinstance(phase, Pending)
    wait_s = phase.not_before - h.mono_s
    h.mono_s += max(0.0, wait_s - 1.0)
    h.run(0.5)
    assert h.state_of(number) == "PENDING"
    h.run(1.5)
    assert h.state_of(number) == "RUNNING"
    return wait_s


def test_back_off_doubles(h: Harness) -> None:
    number = h.submit(job().retries(9))
    waits = []
    for _ in range(8):
        end_one(h, number, 1, run_s=CRASH_RUN_S)
        waits.append(wait_s(h, number))
    assert waits == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60], abs=0.2)


def test_of_back_offs_that_end_at_once_each_tick_ends_some(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_index, "MAX_BACKOFFS_ENDED", 3)
    numbers = [h.submit(job().retries(9)) for _ in range(8)]
    h.run(2)
    h.end_tasks(1)
    queued = list[int]()
    h.mono_s += LONGEST_BACKOFF_S
    for _ in range(4):
        h.cluster.handle(TimePassed(), h.now)
        queued.append(sum(h.job(number).job_class is not None for number in numbers))
    assert queued == [3, 6, 8, 8]


def test_each_task_of_a_large_gang_counts_until_the_last_ends() -> None:
    h = joined(site().rack("a", MAX_ATTEMPTS_KEPT + 6).build())
    number = h.submit(job().nodes(MAX_ATTEMPTS_KEPT + 6).gpus(1).retries(1))
    for code in (1, 0):
        for _ in range(MAX_ATTEMPTS_KEPT + 5):
            end_one(h, number, 0)  # the harness checks the invariants
            assert h.state_of(number) == "RUNNING"
        end_one(h, number, code)
        if code:
            wait_s(h, number)
    assert h.state_of(number) == "COMPLETED"
    assert len(h.gang(number).past) == MAX_ATTEMPTS_KEPT + 6


def test_a_healthy_run_resets_the_back_off(h: Harness) -> None:
    """A rank that is killed after hours is not tried later for what failed before."""
    number = h.submit(job().retries(9))
    h.gang(number).failures = 5
    end_one(h, number, 1, run_s=HEALTHY_RUN_S)
    assert wait_s(h, number) == pytest.approx(1.0, abs=0.2)
    assert h.gang(number).failures == 6, "it counts against the retries all the same"


def test_the_first_failure_since_a_checkpoint_is_followed_at_once(h: Harness) -> None:
    """The next try begins there: it does not fail for what failed before. It is no crash."""
    number = h.submit(job().retries(99))
    for step in range(CRASHES_HELD + 1):
        fail_after_saving(h, number, step)
        assert h.state_of(number) == "RUNNING"
    end_one(h, number, 1, run_s=CRASH_RUN_S)
    waits = [wait_s(h, number)]
    for run_s in (CRASH_RUN_S, CRASH_RUN_S, HEALTHY_RUN_S):
        end_one(h, number, 1, run_s=run_s)
        waits.append(wait_s(h, number))
    assert waits == pytest.approx([1, 2, 4, 1], abs=0.2)
    assert h.gang(number).failures == CRASHES_HELD + 1 + len(waits)


def test_checkpoints_spare_no_back_off_to_a_job_that_never_runs_long(h: Harness) -> None:
    """A program may report ever later checkpoints. It was tried a thousand times at once."""
    number, waits = h.submit(job().retries(99)), []
    for step in range(MAX_SHORT_FAILURES + 8):
        fail_after_saving(h, number, step)
        waits.append(wait_s(h, number) if h.state_of(number) == "PENDING" else 0.0)
    doubled = [1, 2, 4, 8, 16, 32, 60, 60]
    assert waits == pytest.approx([0] * MAX_SHORT_FAILURES + doubled, abs=0.2)
    save(h, number, step=50)
    end_one(h, number, 1, run_s=CRASH_RUN_S)
    assert h.state_of(number) == "RUNNING", "it has run"
    fail_after_saving(h, number, step=51)
    assert h.state_of(number) == "RUNNING"


def test_a_planned_stop_that_saved_is_no_failure_before_the_next(h: Harness) -> None:
    number = h.submit(job().retries(9))
    end_one(h, number, 1, run_s=CRASH_RUN_S)
    wait_s(h, number)
    save(h, number, step=3)
    h.do(Requeue(only(number), "once"))
    h.run(5)
    assert (h.state_of(number), h.gang(number).attempt) == ("RUNNING", 3)
    end_one(h, number, 1, run_s=2.0)
    assert h.state_of(number) == "RUNNING"
    assert h.gang(number).attempt == 4


def test_tries_that_save_what_they_resumed_from_are_crashes(h: Harness) -> None:
    number = h.submit(job().retries(9))
    fail_after_saving(h, number, step=5)
    for _ in range(CRASHES_HELD):
        assert h.state_of(number) == "RUNNING"
        fail_after_saving(h, number, step=5)
        h.run(3)
    assert h.gang(number).is_crash_loop


def save(h: Harness, number: JobId, step: int) -> None:
    node, ref = running(h, number)[0]
    saved = SavedCheckpoint(step=step, bytes=9, save_s=0.1, unix_s=h.now.unix_s)
    h.agent(node).tasks[ref].checkpoint = saved


def fail_after_saving(h: Harness, number: JobId, step: int) -> None:
    save(h, number, step)
    end_one(h, number, 1, run_s=2.0)


def test_a_job_that_backs_off_says_so(h: Harness) -> None:
    """Once it has, what it waits for is all that is reported."""
    number, _ = h.submit(job().retries(9).gpus(8)), h.submit(job().gpus(8))
    end_one(h, number, 3)
    assert reason_of(h.job(number), "PENDING") == "in back-off: exit status 3 (on a1)"
    h.run(2)
    assert reason_of(h.job(number), "PENDING") == "waits for gpus: a1: 8 more free GPUs"


def crash(h: Harness, number: JobId, times: int) -> None:
    """It fails soon after its start, again and again."""
    for at in range(times):
        if at:
            wait_s(h, number)
        end_one(h, number, 3)


def test_a_crash_loop_is_held_rather_than_burn_its_retries(h: Harness) -> None:
    number = h.submit(job().retries(9))
    crash(h, number, CRASHES_HELD)
    assert h.state_of(number) == "HELD"
    assert reason_of(h.job(number), "HELD") == (
        "held: 3 attempts in a row failed within 30 s, last: exit status 3 (on a1); "
        "`wattline release` retries"
    )
    assert h.job(number).record.reason == reason_of(h.job(number), "HELD")
    assert [e.level for e in h.events("gang_held")] == ["warning"]
    h.run(120)
    assert h.state_of(number) == "HELD"


def test_release_gives_a_crash_loop_all_its_retries_again(h: Harness) -> None:
    number = h.submit(job().retries(3))
    crash(h, number, CRASHES_HELD)
    h.do(Release(only(number)))
    assert h.state_of(number) == "RUNNING"
    assert (h.gang(number).failures, h.gang(number).crashes) == (0, 0)
    crash(h, number, CRASHES_HELD)
    assert h.state_of(number) == "HELD"


def test_few_retries_are_used_up_before_a_hold(h: Harness) -> None:
    number = h.submit(job().retries(CRASHES_HELD - 1))
    crash(h, number, CRASHES_HELD)
    assert h.state_of(number) == "FAILED"


def test_a_long_run_begins_the_count_anew(h: Harness) -> None:
    number = h.submit(job().retries(9))
    for run_s in (1.0, 1.0, CRASH_RUN_S, 1.0, 1.0):
        end_one(h, number, 1, run_s=run_s)
        wait_s(h, number)
    assert h.gang(number).crashes == 2


def test_one_crashing_index_is_held_alone(h: Harness) -> None:
    number = h.submit(job().array(3).retries(9))
    for _ in range(CRASHES_HELD):
        node, ref = next((n, r) for n, r in running(h, number) if r.task == 0)
        h.agent(node).end(ref, 3)
        h.run(5)
    assert h.state_of(number) == "RUNNING"
    assert reason_of(h.job(number), "RUNNING").startswith("0: held: 3 attempts")
    h.end_tasks()
    assert h.state_of(number) == "HELD"
    assert h.job(number).count["ended"] == 2
    h.do(Release(only(number)))
    h.end_tasks()
    assert h.state_of(number) == "COMPLETED"


def test_a_crash_loop_is_held_over_a_restart_and_can_be_cancelled(h: Harness) -> None:
    number = h.submit(job().retries(9))
    crash(h, number, CRASHES_HELD)
    h.restart_scheduler()
    h.join()
    h.run(5)
    assert h.state_of(number) == "HELD"
    h.do(Cancel(only(number)))
    assert h.state_of(number) == "CANCELLED"


def test_crashes_and_back_offs_count_on_after_a_restart(h: Harness) -> None:
    number = h.submit(job().retries(9))
    crash(h, number, CRASHES_HELD - 1)
    h.restart_scheduler()
    h.join()
    assert h.state_of(number) == "PENDING"
    assert wait_s(h, number) == pytest.approx(1.5, abs=0.3), "2 s less the restart"
    end_one(h, number, 3)
    assert h.state_of(number) == "HELD"


def test_how_another_index_ended_is_no_reason_to_wait(h: Harness) -> None:
    number = h.submit(job().array(2).gpus(4).retries(3))
    h.do(Cancel(only(number, 0)))
    h.run(1)
    end_one(h, number, 3)
    assert h.state_of(number) == "PENDING"
    assert reason_of(h.job(number), "PENDING") == "in back-off: exit status 3 (on a1)"


# --- services ---------------------------------------------------------------------------


def test_a_service_that_ended_well_backs_off_and_says_so(h: Harness) -> None:
    number = h.submit(job().service(2))
    h.do(Cancel(only(number, 0)))
    h.run(1)
    end_one(h, number, 0)
    assert h.state_of(number) == "PENDING"
    assert reason_of(h.job(number), "PENDING") == "in back-off: it ended"


def test_a_service_that_crashes_at_once_is_restarted_without_end(h: Harness) -> None:
    number = h.submit(job().service(1))
    waits = []
    for _ in range(11):
        end_one(h, number, 1)
        waits.append(wait_s(h, number))
    assert waits == pytest.approx([2**i for i in range(9)] + [300, 300], abs=0.3)
    assert not h.events("gang_held")


def test_a_service_whose_command_is_not_there_has_failed(h: Harness) -> None:
    number = h.submit(job().service(1))
    node, ref = running(h, number)[0]
    h.agent(node).end(ref, kind="not_found")
    h.settle()
    assert h.state_of(number) == "FAILED"


def test_a_service_that_ran_long_starts_its_count_anew(h: Harness) -> None:
    number = h.submit(job().service(1))
    for _ in range(13):
        node, ref = running(h, number)[0]
        h.agent(node).end(ref, 1, run_s=3_600)
        h.settle()
        h.run(3)
    assert h.state_of(number) == "RUNNING"


@pytest.mark.parametrize("starts_as", ["starting", "running"])
def test_a_service_that_its_host_cannot_start_is_tried_again_without_end(
    h: Harness, starts_as: TaskPhase
) -> None:
    """One that has run may be what crashes the nodes."""
    for agent in h.agents.values():
        agent.starts_as = starts_as
    number = h.submit(job().service(1))
    for _ in range(MAX_LOSSES + 1):
        node, ref = running(h, number)[0]
        h.agent(node).end(ref, kind="keeper_lost", run_s=0.0)
        h.settle()
        h.mono_s += LONGEST_BACKOFF_S
        h.run(2)
    assert bool(running(h, number)) is (starts_as == "starting")


def test_events_number_indices_as_people_do(h: Harness) -> None:
    number = h.submit(job("sweep").retries(9)._with(array=ArraySpec((5, 9))))
    for _ in range(CRASHES_HELD):
        node, ref = next((n, r) for n, r in running(h, number) if r.task == 1)
        h.agent(node).end(ref, 3)
        h.run(5)
    (held,) = h.events("gang_held")
    assert held.text.startswith("'sweep'[9] is held: 3 attempts in a row")
    alone = h.submit(job("alone").service(1))
    end_one(h, alone, 1)
    (restarted,) = h.events("service_restarted")
    assert restarted.text.startswith("'alone' is restarted in 1 s: ")
