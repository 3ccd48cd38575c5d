"""What people see of a job: totals, verdict, cost, exit status, from memory and from disk alike."""

import msgspec
import pytest

from support.core import records
from support.core.harness import Harness, joined
from support.core.sites import job, site
from wattline_protocol.ids import AttemptNo, DomainId, NodeId, TaskNo, UnixTime
from wattline_protocol.job.spec import CountRange
from wattline_protocol.site.model import Tariff
from wattline_protocol.views.training_views import CheckpointView
from wattline_protocol.wire.agent_messages import TaskExit, TaskUsage
from wattline_protocol.wire.client_messages import Restore, Shed
from wattline_protocol.wire.task_reports.checkpoints import SavedCheckpoint
from wattline_scheduler.core.model.usage.usage import add_usage, cost_usd
from wattline_scheduler.records import AttemptRecord
from wattline_scheduler.views.jobs_view import (
    MAX_ATTEMPTS_SHOWN,
    GangCounts,
    attempt_views,
    counts_on_record,
    exit_code,
    job_in_full,
    job_in_list,
    job_in_memory,
    job_view,
    merged_metrics,
    newest_attempts,
    run_time,
)
from wattline_scheduler.views.verdict_view import verdict

TARIFF = Tariff(usd_per_kwh=0.25, usd_per_gpu_hour=2.0)


def usage(*, util: float, capped: float = 0.0, gpu_s: float = 1_000.0) -> TaskUsage:
    return TaskUsage(gpu_s=gpu_s, util_gpu_s=util * gpu_s, cap_bound_gpu_s=capped * gpu_s)


def attempt(**changes: object) -> AttemptRecord:
    return msgspec.structs.replace(records.attempt(1), **changes)


@pytest.mark.parametrize(
    ("used", "word"),
    [
        (TaskUsage(), "unknown"),
        (usage(util=1.0, gpu_s=0.5), "unknown"),
        (usage(util=0.05), "idle"),
        (usage(util=0.05, capped=0.9), "idle"),
        (usage(util=0.95), "compute-bound"),
        (usage(util=0.95, capped=0.25), "capped"),
        (usage(util=0.5, capped=0.3), "capped"),
        (usage(util=0.5, capped=0.2), "mixed"),
    ],
)
def test_verdict(used: TaskUsage, word: str) -> None:
    assert verdict(used) == word


def test_cost_is_energy_and_gpu_time_at_the_tariff() -> None:
    two_kwh = TaskUsage(gpu_s=3 * 3600.0, node_energy_mj=2 * 3_600_000_000)
    assert cost_usd(two_kwh, TARIFF) == pytest.approx(2 * 0.25 + 3 * 2.0)


def test_usage_adds_up_but_the_resident_size_is_the_largest() -> None:
    total = add_usage([TaskUsage(run_s=1, max_rss_bytes=5), TaskUsage(run_s=2, max_rss_bytes=3)])
    assert (total.run_s, total.max_rss_bytes) == (3, 5)


def test_an_ended_job_shows_its_totals() -> None:
    record = records.job(1, ended_after_s=200.0)
    tries = [attempt(), attempt(attempt=AttemptNo(2), node=NodeId("n2"))]
    view = job_view(record, GangCounts(1, 0, 1), tries, TARIFF)
    assert view.attempt_count == 2
    assert view.gpu_hours == pytest.approx(2 * 400 / 3600)
    assert view.energy_kwh == pytest.approx(2 * 250_000_000 / 3.6e9)
    assert view.utilisation == pytest.approx(0.8)
    assert view.cap_bound_gpu_s == pytest.approx(80.0)
    assert view.verdict == "compute-bound"
    assert view.nodes == ("n2",)
    assert view.exit_code == 0
    assert view.metrics == {"accuracy": 0.97}
    assert (view.account, view.gpus) == ("ada", 4)
    assert view.started_unix_s == records.T0 + 1
    assert view.attempts == ()
    assert view.spec is None


def test_the_newest_checkpoint_is_of_the_newest_try_whatever_the_clocks_say() -> None:
    slow_clock = SavedCheckpoint(step=20, bytes=9, save_s=1.5, unix_s=UnixTime(100.0))
    tries = [
        attempt(checkpoint=SavedCheckpoint(10, 9, 1.0, UnixTime(5_000.0))),
        attempt(attempt=AttemptNo(2), checkpoint=slow_clock),
        attempt(attempt=AttemptNo(3)),
    ]
    view = job_view(records.job(1, ended_after_s=200.0), GangCounts(1, 0, 1), tries, TARIFF)
    assert view.checkpoint == CheckpointView(20, UnixTime(100.0), 9, 1.5, every_s=0.0)
    assert job_view(records.job(1), GangCounts(1, 0, 0), [attempt()], TARIFF).checkpoint is None


@pytest.mark.parametrize(
    ("spans", "ran_s", "since_s"),
    [
        ([], 0.0, None),
        ([(10.0, 20.0)], 10.0, None),
        ([(10.0, 20.0), (50.0, 55.0)], 15.0, None),
        ([(10.0, 20.0), (15.0, 30.0), (16.0, 17.0)], 20.0, None),
        ([(10.0, 20.0), (50.0, None)], 10.0, 50.0),
        ([(10.0, 20.0), (15.0, None), (18.0, None)], 0.0, 10.0),
        ([(None, None)], 0.0, None),
        ([(None, 20.0)], 0.0, None),
        ([(10.0, 5.0)], 0.0, None),
    ],
)
def test_time_run_is_that_in_which_any_attempt_ran(
    spans: list[tuple[float | None, float | None]], ran_s: float, since_s: float | None
) -> None:
    tries = [attempt(started_unix_s=start, ended_unix_s=end) for start, end in spans]
    assert run_time(tries) == (ran_s, since_s)


def test_a_pause_is_no_time_run() -> None:
    first, second = attempt(), attempt(attempt=AttemptNo(2))
    spans = ((10.0, 50.0, 30.0), (60.0, None, 20.0))
    tries = [
        msgspec.structs.replace(
            a, started_unix_s=UnixTime(start), ended_unix_s=end, usage=TaskUsage(run_s=ran_s)
        )
        for a, (start, end, ran_s) in zip((first, second), spans, strict=True)
    ]
    assert run_time(tries) == (30.0, 60.0)
    assert run_time(tries, {second.ref: None}) == (50.0, None), "it is paused"
    assert run_time(tries, {second.ref: UnixTime(75.0)}) == (30.0, 75.0), "it was, for 15 s"
    assert run_time(tries, {second.ref: UnixTime(5.0)}) == (30.0, 60.0), "clocks differ"


def test_elapsed_stands_still_while_a_job_is_paused() -> None:
    h = joined(site().rack("a", 1, kw=10).build())
    number = h.submit(job().gpus(8))
    (task,) = h.agent("a1").tasks.values()
    task.usage = TaskUsage(run_s=h.now.unix_s - 1.0)  # the fake agent's tasks start in 1970

    def run(seconds: float, *, is_paused: bool = False) -> float:
        ran_s = task.usage.run_s + (0.0 if is_paused else seconds)
        task.usage = TaskUsage(run_s=ran_s)
        h.run(seconds)
        elapsed_s = job_in_memory(h.job(number), TARIFF).elapsed_s(h.now.unix_s)
        assert elapsed_s is not None
        return elapsed_s

    ran_s = run(20)
    h.do(Shed(DomainId("pdu-a"), fraction=0.8))
    h.run(1)
    assert h.job(number).record.state == "PAUSED"
    assert run(30, is_paused=True) == pytest.approx(ran_s, abs=1.0)
    assert run(30, is_paused=True) == pytest.approx(ran_s, abs=1.0)
    h.do(Restore(DomainId("pdu-a")))
    h.run(1)
    assert h.job(number).record.state == "RUNNING"
    assert run(10) == pytest.approx(ran_s + 10, abs=3.0)


def test_details_come_with_the_attempts() -> None:
    record = records.job(1)
    view = job_view(record, GangCounts(1, 0, 0), [attempt()], TARIFF, with_attempts=True)
    assert view.spec == record.spec
    assert [a.exit for a in view.attempts] == [records.attempt(1).exit]
    assert view.exit_code is None  # it has not ended


def test_of_very_many_attempts_the_newest_are_shown() -> None:
    many = [attempt(task=TaskNo(n), placed_unix_s=float(n)) for n in range(MAX_ATTEMPTS_SHOWN + 10)]
    shown = attempt_views(many)
    assert [shown[0].task, shown[-1].task] == [10, MAX_ATTEMPTS_SHOWN + 9]


def failing(task: int, end: TaskExit | None) -> AttemptRecord:
    return attempt(task=TaskNo(task), exit=end)


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ([], None),
        ([None], None),
        ([TaskExit("exited", code=0)], 0),
        ([TaskExit("exited", code=0), TaskExit("exited", code=3)], 3),
        ([TaskExit("signaled", signal=9)], 137),
        ([TaskExit("not_found"), TaskExit("exited", code=0)], 0),
    ],
)
def test_exit_code_is_the_first_that_failed(ends: list[TaskExit | None], code: int | None) -> None:
    assert exit_code([failing(n, end) for n, end in enumerate(ends)]) == code


def test_the_task_that_failed_gives_the_exit_code_and_not_those_stopped_for_it() -> None:
    stopped = attempt(state="CANCELLED", exit=TaskExit("signaled", signal=15))
    culprit = attempt(task=TaskNo(1), state="FAILED", exit=TaskExit("exited", code=3))
    assert exit_code([stopped, culprit]) == 3
    assert exit_code([stopped]) == 143


def test_only_the_newest_try_of_a_task_counts_for_its_end() -> None:
    first = attempt(exit=TaskExit("exited", code=1))
    second = attempt(attempt=AttemptNo(2), exit=TaskExit("exited", code=0))
    assert newest_attempts([second, first]) == [second]
    assert exit_code(newest_attempts([first, second])) == 0


def test_of_a_gang_that_shrank_only_the_tasks_of_its_newest_try_count() -> None:
    record = records.job(1, ended_after_s=200.0)
    resources = msgspec.structs.replace(record.spec.resources, nodes=CountRange(1, 2))
    spec = msgspec.structs.replace(record.spec, resources=resources)
    stopped = TaskExit("exited", code=1)
    tries = [
        attempt(state="CANCELLED", exit=stopped),
        attempt(attempt=AttemptNo(2), exit=TaskExit("exited", code=0)),
        attempt(task=TaskNo(1), state="CANCELLED", node=NodeId("n2"), exit=stopped),
    ]
    ended = msgspec.structs.replace(record, spec=spec)
    view = job_view(ended, GangCounts(1, 0, 1), tries, TARIFF)
    assert (view.exit_code, view.nodes) == (0, ("n1",))


def test_the_lowest_task_speaks_for_the_metrics() -> None:
    tries = [attempt(metrics={"loss": 1.0}), attempt(task=TaskNo(1), metrics={"loss": 2, "b": 3})]
    assert merged_metrics(tries) == {"loss": 1.0, "b": 3}


def test_a_running_job_shows_what_its_agent_said_last() -> None:
    h = Harness(site().rack("a", 2).build())
    h.join()
    number = h.submit(job().gpus(4))
    (name,) = (n for n, agent in h.agents.items() if agent.tasks)
    task = next(iter(h.agent(name).tasks.values()))
    task.usage = TaskUsage(run_s=100.0, gpu_s=400.0, util_gpu_s=360.0)
    h.run(2.0)
    view = job_in_memory(h.job(number), TARIFF, with_attempts=True)
    assert (view.state, view.nodes, view.gangs_running, view.gpus) == ("RUNNING", (name,), 1, 4)
    assert view.gpu_hours == pytest.approx(400 / 3600)
    assert view.attempts[0].pid == 4_000
    assert view.attempts[0].state == "RUNNING"


def test_a_waiting_job_says_what_it_waits_for() -> None:
    h = Harness(site().rack("a", 1).build())
    h.join()
    h.submit(job("first").gpus(8))
    number = h.submit(job("second").gpus(8))
    view = job_in_memory(h.job(number), TARIFF)
    assert view.state == "PENDING"
    assert "gpus" in view.reason


def test_a_job_looks_the_same_from_disk() -> None:
    h = Harness(site().rack("a", 2).build())
    h.join()
    number = h.submit(job().array(3))
    h.end_tasks()
    h.run(1.0)
    saved = h.disk.load()
    (record,) = saved.jobs
    on_disk = job_view(
        record, counts_on_record(saved.gangs), saved.attempts, TARIFF, with_attempts=True
    )
    assert on_disk == job_in_memory(h.job(number), TARIFF, with_attempts=True)
    assert (on_disk.state, on_disk.gangs, on_disk.gangs_ended) == ("COMPLETED", 3, 3)


def test_a_job_says_when_it_is_expected_to_end() -> None:
    """The last of what runs; nothing where somebody waits yet, or nobody knows."""
    h = joined(site().rack("a", 1).build())
    bounds = h.cluster.state.work.runtime_bounds
    known, unknown = h.submit(job().gpus(1).runtime(600)), h.submit(job().gpus(1))
    array = h.submit(job().gpus(4).array(3).runtime(600))
    h.run(10)
    seen = [job_in_full(h.job(n), TARIFF, bounds, h.now) for n in (known, unknown, array)]
    grace_s = h.job(known).spec.recovery.grace_s
    assert seen[0].expected_end_why == "at its time limit at the latest"
    assert seen[0].expected_end_unix_s is not None
    assert seen[0].expected_end_unix_s - h.now.unix_s == pytest.approx(590 + grace_s, abs=15)
    assert seen[1].expected_end_unix_s is None
    assert seen[2].expected_end_unix_s is None, "one of three waits"
    listed = job_in_list(h.job(known), TARIFF, bounds, h.now)
    h.run(5.3)
    later = job_in_list(h.job(known), TARIFF, bounds, h.now)
    assert listed.expected_end_unix_s == later.expected_end_unix_s, "a time, which stays"
