"""A scheduler that was killed: nothing lost, nothing run twice, running tasks untouched."""

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.sites import job, site
from wattline_protocol.ids import Epoch, NodeId
from wattline_protocol.job.selection import only
from wattline_protocol.site.sensing import CommandSource, Sensor
from wattline_protocol.wire.agent_messages import StartTask, StopTask
from wattline_protocol.wire.client_messages import Cancel, DeclareOff, DeclareOn
from wattline_scheduler.core.admission.planner_view import snapshot
from wattline_scheduler.core.cluster import Cluster
from wattline_scheduler.core.model.events import TimePassed
from wattline_scheduler.core.recovery import SiteMismatch
from wattline_scheduler.records import Saved


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 2).build())


def restart(h: Harness) -> None:
    h.restart_scheduler()
    h.run(3)


def test_running_tasks_go_on_untouched(h: Harness) -> None:
    number = h.submit(job().gpus(2).nodes(2))
    h.run(2)
    starts = {name: len(h.sent_to(name, StartTask)) for name in h.agents}
    restart(h)
    assert h.state_of(number) == "RUNNING"
    assert h.gang(number).attempt == 1
    assert {name: len(h.sent_to(name, StartTask)) for name in h.agents} == starts
    assert not any(h.sent_to(name, StopTask) for name in h.agents)


def test_time_that_the_start_took_is_no_silence_of_nodes(h: Harness) -> None:
    h.restart_scheduler()
    h.mono_s += 10 * h.site.timing.isolation_after_s  # the store is verified
    h.cluster.begin(h.now)
    h.handle(TimePassed())
    assert h.events("node_silent") == []
    state = h.cluster.state
    assert all(not node.is_silent for node in state.nodes.values())
    assert {node.answered_at for node in state.nodes.values()} == {h.mono_s}


def test_time_that_the_start_took_is_no_overrun() -> None:
    h = Harness(site().rack("a", 2).site_budget(10).build())  # no node was heard: all in full
    h.mono_s += 60.0
    h.cluster.begin(h.now)
    assert [overrun.since for overrun in h.cluster.state.overruns.values()] == [h.mono_s]


def test_time_that_the_start_took_makes_no_sensor_stale() -> None:
    sensor = Sensor(CommandSource(("units",)))
    plant = {"units": 4, "unit_mw": 100_000_000, "units_sensor": sensor, "inlet_limit_c": 27.0}
    h = joined(site().rack("a", 2).metered("a", fallback_mw=9_000_000).cooled(**plant).build())
    h.restart_scheduler()
    h.mono_s += 3_600.0  # the store is verified
    h.cluster.begin(h.now)
    h.handle(TimePassed())
    assert not h.cluster.state.problems.open
    assert not h.cluster.state.limits


def test_the_mix_of_tasks_is_counted_anew_from_the_jobs(h: Harness) -> None:
    assert snapshot(h.cluster.state, h.now).prices is None, "nothing was asked for yet"
    h.submit(job().gpus(1).array(30))
    h.submit(job().gpus(2).nodes(2))
    before = snapshot(h.cluster.state, h.now).prices
    restart(h)
    after = snapshot(h.cluster.state, h.now).prices
    assert before is not None
    assert after is not None
    assert before.mix.gpus[:2].tolist() == after.mix.gpus[:2].tolist() == [1, 2]
    assert before.mix.frequency.tolist() == after.mix.frequency.tolist()


def test_a_task_that_ended_meanwhile_is_told_of(h: Harness) -> None:
    number = h.submit(job())
    for agent in h.agents.values():
        agent.end_all()
        agent.said.clear()
    restart(h)
    assert h.state_of(number) == "COMPLETED"


def restore_backup(h: Harness, backup: Saved) -> None:
    """Back to an older state, as the store does it with `--recover`."""
    later = msgspec.structs.replace(
        backup, epoch=Epoch(1_000), is_recovering=True, attempt_floor=1_000
    )
    h.cluster = Cluster(h.cluster.state.site, later, h.now)


def test_after_a_restored_backup_nothing_starts_before_all_nodes_were_heard(h: Harness) -> None:
    backup = h.disk.load()
    lost = h.submit(job().gpus(2))
    h.run(2)
    restore_backup(h, backup)
    one, other = h.agents
    h.cut_off.add(other)
    h.join(one)
    again = h.submit(job().gpus(2))
    h.run(3)
    assert h.state_of(again) == "PENDING"
    assert other in h.job(again).record.reason + h.job(again).wait_reason
    h.cut_off.clear()
    h.join(other)
    h.run(5)
    assert any(h.sent_to(name, StopTask) for name in h.agents), f"job {lost} is not on record"
    assert h.state_of(again) == "RUNNING"
    assert h.gang(again).attempt == 1_001
    assert h.events("recovery_over")


def test_a_node_declared_off_is_not_waited_for_after_a_backup(h: Harness) -> None:
    backup = h.disk.load()
    restore_backup(h, backup)
    one, other = h.agents
    h.cut_off.add(other)
    h.join(one)
    waiting = h.submit(job())
    h.run(1)
    assert h.state_of(waiting) == "PENDING"
    assert "off" in h.do(DeclareOff(NodeId(other), confirmation=other))
    h.run(2)
    assert h.state_of(waiting) == "RUNNING"


def test_waiting_jobs_keep_their_order(h: Harness) -> None:
    full = h.submit(job().array(2).gpus(8))
    later = [h.submit(job().gpus(8)), h.submit(job().gpus(8).priority(75))]
    restart(h)
    h.run(2)
    assert h.state_of(full) == "RUNNING"
    one = next(iter(h.agents.values()))
    h.end_tasks(only=lambda agent: agent is one)
    h.run(2)
    assert [h.state_of(number) for number in later] == ["PENDING", "RUNNING"]


def test_the_books_are_as_they_were(h: Harness) -> None:
    h.submit(job().gpus(8))
    h.run(5)
    before = {name: h.committed_kw(name) for name in h.agents}
    h.restart_scheduler()
    assert {name: h.committed_kw(name) for name in h.agents} == before


def test_a_lease_under_way_when_it_died_still_counts(h: Harness) -> None:
    h.cut_off.update(h.agents)
    h.submit(job().gpus(8))
    name = next(a.node for a in h.cluster.state.work.live.values())
    before_kw = h.committed_kw(name)
    assert before_kw > 3
    h.restart_scheduler()
    assert h.committed_kw(name) == before_kw


def test_a_start_that_never_arrived_is_made_good(h: Harness) -> None:
    h.cut_off.update(h.agents)
    number = h.submit(job().gpus(0))
    h.cut_off.clear()
    restart(h)
    h.run(5)
    assert h.state_of(number) == "RUNNING"
    running = [ref for agent in h.agents.values() for ref in agent.tasks]
    assert [ref.job for ref in running] == [number]


def test_a_cancellation_is_carried_through(h: Harness) -> None:
    number = h.submit(job().retries(3))
    h.cut_off.update(h.agents)
    h.ask(Cancel(only(number)))
    h.cut_off.clear()
    restart(h)
    assert h.state_of(number) == "CANCELLED"
    assert not any(agent.tasks for agent in h.agents.values())


def test_a_failure_being_settled_still_counts_as_one(h: Harness) -> None:
    """One task failed, the other was being stopped: after the restart this is still a failure."""
    number = h.submit(job().gpus(1).nodes(2).retries(1))
    first, second = h.gang(number).live
    h.cut_off.add(second.node)
    h.agent(first.node).end(first.record.ref, 1)
    h.settle()
    h.cut_off.clear()
    restart(h)
    assert h.gang(number).failures == 1


def test_losses_are_counted_from_the_attempts_on_record(h: Harness) -> None:
    number = h.submit(job())
    h.agent(h.gang(number).live[0].node).lose_tasks()
    h.run(3)
    restart(h)
    assert h.gang(number).losses == 1


def test_ended_jobs_stay_ended_and_are_not_counted_open(h: Harness) -> None:
    number = h.submit(job())
    h.end_tasks()
    restart(h)
    assert h.state_of(number) == "COMPLETED"
    assert len(h.cluster.state.work.open) == 0


def test_the_epoch_of_the_new_run_is_told_to_every_node(h: Harness) -> None:
    restart(h)
    assert {agent.epoch for agent in h.agents.values()} == {2}


def test_every_first_start_is_empty() -> None:
    h = Harness(site().rack("a", 1).build())
    assert not h.cluster.state.work.jobs
    assert h.node("a1").incarnation == 0


def test_a_node_with_a_lease_that_left_the_site_file_is_an_error_in_words(h: Harness) -> None:
    gone = "a2"
    kept = tuple(node for node in h.site.nodes if node.id != gone)
    smaller = msgspec.structs.replace(h.site, nodes=kept)
    with pytest.raises(SiteMismatch, match=r"a2 may draw power.*wattline node off a2"):
        Cluster(smaller, h.disk.load(), h.now)
    h.cut_off.add(NodeId(gone))
    h.run(20)
    h.do(DeclareOff(NodeId(gone), gone))
    assert list(Cluster(smaller, h.disk.load(), h.now).state.nodes) == ["a1"]


def test_neither_may_an_observer_leave_the_site_file_nor_a_node_that_was_declared_on() -> None:
    h = Harness(site().rack("a", 3).build())
    h.agent("a1").is_observe = True
    h.join("a1", "a2")
    h.cut_off.add(NodeId("a2"))
    h.run(20)
    h.do(DeclareOff(NodeId("a2"), "a2"))
    h.do(DeclareOn(NodeId("a2")))
    for gone, may_draw in (("a1", True), ("a2", True), ("a3", False)):
        kept = tuple(node for node in h.site.nodes if node.id != gone)
        smaller = msgspec.structs.replace(h.site, nodes=kept)
        if may_draw:
            with pytest.raises(SiteMismatch, match=f"{gone} may draw power"):
                Cluster(smaller, h.disk.load(), h.now)
        else:  # it never was
            assert len(Cluster(smaller, h.disk.load(), h.now).state.nodes) == 2


def test_silent_nodes_after_a_restart_are_told_of(h: Harness) -> None:
    h.cut_off.add(NodeId("a1"))
    h.restart_scheduler()
    h.run(20)
    assert h.node("a1").state == "silent"
    assert h.events("node_silent")
