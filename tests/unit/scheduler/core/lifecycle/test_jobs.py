"""From submission to the end: retries, losses, cancellation, services, arrays."""

import gc

import pytest

from support.core.harness import Harness, end_one, joined, running
from support.core.sites import job, site
from wattline_protocol.ids import GpuIndex, NodeId
from wattline_protocol.job.selection import only
from wattline_protocol.wire.agent_messages import (
    CommandDone,
    ForgetTask,
    StartTask,
    StopTask,
    TaskExit,
    TaskReport,
    TaskUpdate,
)
from wattline_protocol.wire.client_messages import Cancel, Denied, Hold, Release, Requeue
from wattline_scheduler.core.agents.task_reports import CERTAIN_BEATS
from wattline_scheduler.core.cluster import SMALL_SITE_NODES
from wattline_scheduler.core.lifecycle import planning
from wattline_scheduler.core.lifecycle.ending import MAX_LOSSES
from wattline_scheduler.core.model.effects import Save, Send
from wattline_scheduler.core.model.events import PlanDue
from wattline_scheduler.core.model.jobs import job_index
from wattline_scheduler.core.model.jobs.job import Ended, Job, Running
from wattline_scheduler.core.model.jobs.job_index import IllegalTransition
from wattline_scheduler.plan.model.snapshot import Placement, Plan, TaskPlace
from wattline_scheduler.records import AttemptRecord


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 2).rack("b", 2).build())


def test_a_job_runs_to_its_end(h: Harness) -> None:
    number = h.submit(job().gpus(2))
    assert h.state_of(number) == "RUNNING"
    h.end_tasks()
    assert h.state_of(number) == "COMPLETED"
    record = h.gang(number).past[0].record
    assert record.state == "COMPLETED"
    assert record.usage.run_s == 1.0
    assert record.exit == TaskExit(kind="exited", code=0)
    assert not h.node(record.node).holders


def test_the_end_is_on_disk_before_the_agent_may_forget_it(h: Harness) -> None:
    h.submit(job())
    h.effects.clear()
    h.end_tasks()
    saved = next(
        i
        for i, e in enumerate(h.effects)
        if isinstance(e, Save) and isinstance(e.record, AttemptRecord) and e.record.ended_unix_s
    )
    forget = next(
        i
        for i, e in enumerate(h.effects)
        if isinstance(e, Send) and isinstance(e.message, ForgetTask)
    )
    assert saved < forget
    assert not any(agent.tasks for agent in h.agents.values())


def test_an_end_told_twice_counts_once(h: Harness) -> None:
    number = h.submit(job().retries(1))
    node, ref = running(h, number)[0]
    h.agent(node).end(ref, 1)
    h.agent(node).tell(h.agent(node).tasks[ref])
    h.settle()
    assert h.gang(number).failures == 1


def test_a_late_word_about_an_ended_attempt_is_not_a_stray(h: Harness) -> None:
    number = h.submit(job())
    node, ref = running(h, number)[0]
    agent = h.agent(node)
    late = TaskUpdate(agent.epoch, agent.incarnation, agent.tasks[ref].report())
    h.end_tasks()
    h.say(node, late)
    assert not h.sent_to(node, StopTask)
    assert not h.events("stray_stopped")


def test_a_task_that_its_agent_reported_ended_and_still_lists_is_stopped(h: Harness) -> None:
    """The end was a lie, and what runs keeps others from the GPU."""
    number = h.submit(job())
    node, ref = running(h, number)[0]
    task = h.agent(node).tasks[ref]
    end = TaskReport(ref, "ended", task.report().gpus, exit=TaskExit("exited", 0))
    h.say(node, TaskUpdate(h.agent(node).epoch, h.agent(node).incarnation, end))
    assert h.state_of(number) == "COMPLETED"
    h.settle()  # it is ordered to forget the attempt
    h.agent(node).tasks[ref] = task
    h.run(CERTAIN_BEATS + 1)
    assert h.sent_to(node, StopTask)
    assert h.events("stray_stopped")
    assert ref not in h.agent(node).tasks


def test_a_failure_says_how_it_ended(h: Harness) -> None:
    number = h.submit(job())
    end_one(h, number, 3)
    assert h.state_of(number) == "FAILED"
    assert "exit status 3" in h.job(number).record.reason


def test_retries_come_after_a_back_off_and_are_counted(h: Harness) -> None:
    number = h.submit(job().retries(1))
    end_one(h, number, 1)
    assert h.state_of(number) == "PENDING"
    h.run(2)
    assert h.state_of(number) == "RUNNING"
    assert h.gang(number).attempt == 2
    end_one(h, number, 1)
    assert h.state_of(number) == "FAILED"


def test_a_command_not_found_is_not_tried_again(h: Harness) -> None:
    number = h.submit(job().retries(5))
    node, ref = running(h, number)[0]
    h.agent(node).end(ref, kind="not_found")
    h.settle()
    assert h.state_of(number) == "FAILED"


def test_a_runtime_limit_is_a_timeout(h: Harness) -> None:
    number = h.submit(job().retries(5).runtime(60))
    node, ref = running(h, number)[0]
    h.agent(node).end(ref, kind="runtime_limit")
    h.settle()
    assert h.state_of(number) == "TIMEOUT"


def test_when_one_task_of_a_gang_fails_the_others_are_stopped(h: Harness) -> None:
    number = h.submit(job().gpus(2).nodes(3))
    end_one(h, number, 1)
    assert h.state_of(number) == "FAILED"
    states = sorted(a.record.state for a in h.gang(number).past)
    assert states == ["CANCELLED", "CANCELLED", "FAILED"]


def test_tasks_of_a_gang_may_end_well_one_by_one(h: Harness) -> None:
    number = h.submit(job().gpus(2).nodes(2))
    end_one(h, number, 0)
    assert h.state_of(number) == "RUNNING"
    end_one(h, number, 0)
    assert h.state_of(number) == "COMPLETED"


# --- losses -----------------------------------------------------------------------------


def test_a_loss_costs_the_user_no_retry(h: Harness) -> None:
    number = h.submit(job().gpus(1))
    h.agent(running(h, number)[0][0]).lose_tasks()
    h.run(3)
    assert h.state_of(number) == "RUNNING"
    assert (h.gang(number).failures, h.gang(number).losses) == (0, 1)


def test_losses_are_bounded(h: Harness) -> None:
    number = h.submit(job().gpus(1))
    for _ in range(MAX_LOSSES + 1):
        h.agent(running(h, number)[0][0]).lose_tasks()
        h.run(100)
    assert h.state_of(number) == "FAILED"
    assert "lost" in h.job(number).record.reason


def test_a_task_missing_from_a_later_beat_is_lost(h: Harness) -> None:
    number = h.submit(job().gpus(1))
    h.run(2)
    node, ref = running(h, number)[0]
    del h.agent(node).tasks[ref]
    h.run(3)
    assert h.gang(number).losses == 1


def test_a_start_the_node_does_not_cover_is_planned_anew(h: Harness) -> None:
    for agent in h.agents.values():
        agent.answer_starts = "not_covered"
    number = h.submit(job().gpus(1))
    assert h.state_of(number) == "PENDING"
    assert "did not cover" in h.gang(number).reason
    for agent in h.agents.values():
        agent.answer_starts = "done"
    h.run(3)
    assert h.state_of(number) == "RUNNING"
    assert h.gang(number).failures == h.gang(number).losses == 0


def test_a_start_is_resent_until_it_is_acknowledged(h: Harness) -> None:
    h.cut_off.update(h.agents)
    number = h.submit(job().gpus(0))
    name = running(h, number)[0][0]
    h.tick()
    h.tick()
    starts = h.sent_to(name, StartTask)
    assert len(starts) == 3
    assert len(set(map(repr, starts))) == 1, "the same command, the same sequence"


def test_a_start_that_was_acknowledged_and_then_lost_is_a_loss(h: Harness) -> None:
    """It may have run: the gang is not started again for nothing without end."""
    number = h.submit(job().gpus(0))
    h.agent(running(h, number)[0][0]).lose_tasks()
    h.settle()
    assert (h.gang(number).losses, h.gang(number).refusals) == (1, 0)


def test_an_acknowledged_start_counts_as_begun_before_its_first_report(h: Harness) -> None:
    h.cut_off.update(h.agents)
    number = h.submit(job().gpus(0))
    name = running(h, number)[0][0]
    start = h.sent_to(name, StartTask)[0]
    assert isinstance(start, StartTask)
    h.say(name, CommandDone(start.epoch, start.incarnation, start.seq, "done"))
    assert not h.node(name).outbox
    h.cut_off.clear()
    h.join(name)
    assert (h.gang(number).losses, h.gang(number).refusals) == (1, 0)


def test_a_start_withdrawn_by_a_stop_is_not_resent(h: Harness) -> None:
    h.cut_off.update(h.agents)
    number = h.submit(job().gpus(0))
    name = running(h, number)[0][0]
    h.ask(Cancel(only(number)))
    before = len(h.sent_to(name, StartTask))
    h.tick()
    assert len(h.sent_to(name, StartTask)) == before
    assert len(h.sent_to(name, StopTask)) == 2


def test_a_plan_that_gives_a_gpu_twice_is_not_applied(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planner is not believed: each placement is checked against the state."""
    place = TaskPlace(NodeId("a1"), (GpuIndex(0),))
    numbers = [h.submit(job().held()) for _ in range(2)]
    both = tuple(Placement(number, 0, (place,)) for number in numbers)
    monkeypatch.setattr(planning, "plan", lambda *_: Plan(both, {}, {}, is_cut=False))
    for number in numbers:
        h.ask(Release(only(number)))
    h.handle(PlanDue())
    assert sorted(h.state_of(number) for number in numbers) == ["PENDING", "STARTING"]


# --- cancel, hold, release --------------------------------------------------------------


def test_cancel_stops_all_tasks_with_the_jobs_grace(h: Harness) -> None:
    number = h.submit(job().gpus(1).nodes(2).grace(7))
    h.do(Cancel(only(number)))
    stops = [m for n in h.agents for m in h.sent_to(n, StopTask)]
    assert [m.grace_s for m in stops if isinstance(m, StopTask)] == [7, 7]
    assert h.state_of(number) == "CANCELLED"
    assert "ops" in h.job(number).record.reason


def test_cancel_ends_what_has_not_started_at_once(h: Harness) -> None:
    number = h.submit(job().array(5, 2).gpus(8))
    h.cut_off.update(h.agents)
    h.ask(Cancel(only(number)))
    assert h.job(number).count["ended"] == 3
    assert h.state_of(number) == "RUNNING", "until the others are reported ended"


def test_cancelled_jobs_are_not_tried_again(h: Harness) -> None:
    number = h.submit(job().retries(5))
    h.do(Cancel(only(number)))
    h.run(5)
    assert h.state_of(number) == "CANCELLED"
    answer = h.ask(Cancel(only(number)))
    assert isinstance(answer, Denied)
    assert answer.kind == "conflict"


def test_a_cancel_before_the_growth_is_acknowledged_ends_at_once(h: Harness) -> None:
    for agent in h.agents.values():
        agent.is_slow_to_ack = True
    number = h.submit(job().gpus(1))
    assert h.state_of(number) == "STARTING"
    h.do(Cancel(only(number)))
    assert h.state_of(number) == "CANCELLED"
    assert not any(h.sent_to(n, StartTask) for n in h.agents)


def test_hold_and_release(h: Harness) -> None:
    number = h.submit(job().held())
    assert h.state_of(number) == "HELD"
    h.run(3)
    assert h.state_of(number) == "HELD"
    h.do(Release(only(number)))
    assert h.state_of(number) == "RUNNING"


def test_hold_lets_run_what_runs(h: Harness) -> None:
    number = h.submit(job().array(4, 1))
    h.do(Hold(only(number)))
    assert h.state_of(number) == "RUNNING"
    h.end_tasks()
    h.run(2)
    assert h.state_of(number) == "HELD"
    assert h.job(number).count["ended"] == 1


# --- arrays and services ----------------------------------------------------------------


def test_at_a_time_is_respected(h: Harness) -> None:
    number = h.submit(job().array(6, 2))
    most = 0
    for _ in range(6):
        most = max(most, len(running(h, number)))
        if running(h, number):
            end_one(h, number, 0)
    assert most == 2
    assert h.state_of(number) == "COMPLETED"


def test_one_failed_index_does_not_stop_the_others(h: Harness) -> None:
    number = h.submit(job().array(3))
    end_one(h, number, 1)
    h.end_tasks()
    assert h.state_of(number) == "FAILED"
    outcomes = [g.phase.outcome for g in h.job(number).gangs if isinstance(g.phase, Ended)]
    assert sorted(outcomes) == ["COMPLETED", "COMPLETED", "FAILED"]


def test_a_service_replica_is_restarted_until_it_is_cancelled(h: Harness) -> None:
    number = h.submit(job().service(2))
    end_one(h, number, 0)
    h.run(3)
    assert len(running(h, number)) == 2
    h.do(Cancel(only(number)))
    assert h.state_of(number) == "CANCELLED"


# --- orders -----------------------------------------------------------------------------


def orders(h: Harness) -> list[StartTask]:
    return [m for n in h.agents for m in h.sent_to(n, StartTask) if isinstance(m, StartTask)]


def test_a_torchrun_gang_meets_at_rank_0(h: Harness) -> None:
    number = h.submit(job().gpus(2).nodes(2).torchrun())
    meets = sorted(
        (o.order.rendezvous for o in orders(h) if o.order.rendezvous), key=lambda m: m.node_rank
    )
    first = next(a for a in h.gang(number).live if a.record.task == 0)
    assert [m.node_rank for m in meets] == [0, 1]
    assert {(m.host, m.port) for m in meets} == {(first.node, meets[0].port)}
    assert meets[0].nodes == meets[0].procs_per_node == 2


def test_on_one_host_a_gang_meets_on_loopback(h: Harness) -> None:
    for agent in h.agents.values():
        agent.hostname = "laptop"
    h.join()
    h.submit(job().gpus(2).nodes(2).torchrun())
    assert {o.order.rendezvous.host for o in orders(h) if o.order.rendezvous} == {"127.0.0.1"}


def test_an_array_task_gets_its_index(h: Harness) -> None:
    h.submit(job().array(3))
    assert sorted(o.order.array_index for o in orders(h) if o.order.array_index is not None) == [
        0,
        1,
        2,
    ]


def test_a_service_knows_each_enrolled_gateway_with_its_key() -> None:
    gateways = site().gateway("tcp://gw:2", "b").gateway("tcp://gw:3", "c")
    h = Harness(gateways.gateway("tcp://gw:1", "a").rack("a", 1).build())
    h.cluster.state.gateway_keys = {"a": "key of a", "b": "key of b", "gone": "another"}
    h.join()
    h.run(2)
    h.submit(job().service(1))
    order = orders(h)[0].order
    assert order.gateways == ("tcp://gw:2", "tcp://gw:1")
    assert order.gateway_keys == ("key of b", "key of a")
    assert order.gateway_public_key == "key of b", "an agent that knows no other key"


# --- the table --------------------------------------------------------------------------


def test_an_illegal_move_tells_the_jobs_history(h: Harness) -> None:
    number = h.submit(job("sorting"))
    h.end_tasks()
    gang = h.gang(number)
    with pytest.raises(IllegalTransition, match=r"ended to running.*sorting.*pending → starting"):
        h.cluster.state.work.move(gang, Running(h.now.mono_s), h.now)


def test_growth_that_cannot_be_found_gives_the_gpus_back(h: Harness) -> None:
    for agent in h.agents.values():
        agent.is_slow_to_ack = True
    number = h.submit(job().gpus(1))
    while h.state_of(number) == "STARTING":
        h.run(1)
    assert h.state_of(number) == "PENDING"
    assert "not granted within" in h.gang(number).reason
    assert not any(h.node(name).holders for name in h.agents)


def test_a_node_that_goes_away_before_the_start_gives_its_gang_back(h: Harness) -> None:
    for agent in h.agents.values():
        agent.is_slow_to_ack = True
    number = h.submit(job().gpus(1))
    name = running(h, number)[0][0]
    h.agent(name).said.clear()
    h.agent(name).say_farewell()
    h.settle()
    h.tick()
    assert all(node != NodeId(name) for node, _ in running(h, number))


def test_on_a_large_site_a_gang_starts_with_its_own_acknowledgements() -> None:
    h = Harness(site().rack("a", SMALL_SITE_NODES + 1).build())
    h.join()
    number = h.submit(job().gpus(8).nodes(2))
    assert h.state_of(number) == "RUNNING", "no tick was needed"


def test_on_a_large_site_watts_freed_elsewhere_reach_a_waiting_gang() -> None:
    nodes = SMALL_SITE_NODES + 1
    idle_kw, full_kw = 1.73, 7.13
    h = Harness(site().rack("a", nodes).site_budget(nodes * idle_kw + full_kw).build())
    h.join()
    first = h.submit(job().gpus(8))
    h.run(2)
    second = h.submit(job().gpus(8).priority(90))
    h.run(5)
    assert [h.state_of(first), h.state_of(second)] == ["RUNNING", "RUNNING"]


def test_of_large_arrays_that_have_ended_fewer_stay_in_memory(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of 10,000 could be an array of 10,000: more memory than any host has."""
    monkeypatch.setattr(job_index, "MAX_ENDED_GANGS", 10)
    arrays = [h.submit(job().array(4).held()) for _ in range(3)]
    for number in arrays:
        h.do(Cancel(only(number)))
    assert [number in h.cluster.state.work.jobs for number in arrays] == [False, True, True]
    h.do(Requeue(only(arrays[1]), "again"))
    small = [h.submit(job().held()) for _ in range(7)]
    for number in small:
        h.do(Cancel(only(number)))
    kept = [number in h.cluster.state.work.jobs for number in (*arrays, *small)]
    assert kept == [False, True, False, *[True] * 7]


def test_a_job_that_leaves_memory_is_freed_without_a_collection(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_index, "MAX_ENDED_JOBS", 1)
    gc.collect()
    gc.disable()
    try:
        before = _jobs_alive()
        for _ in range(4):
            h.submit(job().gpus(2))
            h.end_tasks()
        assert _jobs_alive() - before <= 2  # the one that is kept, and the one in the test's hands
    finally:
        gc.enable()


def _jobs_alive() -> int:
    return sum(type(one) is Job for one in gc.get_objects())
