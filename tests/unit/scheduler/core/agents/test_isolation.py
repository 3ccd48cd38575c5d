"""No task runs in two attempts at once (I7): what a cut-off node's tasks wait for."""

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.sites import job, site
from wattline_protocol.ids import JobId, NodeId
from wattline_protocol.job.spec import JobKind
from wattline_protocol.wire.agent_messages import (
    BeatSeen,
    LeaseTask,
    StopTask,
    TaskExit,
    TaskUpdate,
    TaskUsage,
)
from wattline_protocol.wire.task_reports.checkpoints import SavedCheckpoint
from wattline_scheduler.core.agents.heartbeat import CLOCK_DRIFT, KILL_TIME_S, LEASE_MARGIN_S

TASK_LEASE_S = 100.0
CERTAIN_S = TASK_LEASE_S * (1 + CLOCK_DRIFT) + KILL_TIME_S + LEASE_MARGIN_S


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 2).times(task_lease_s=TASK_LEASE_S).build())


def cut(h: Harness, number: JobId) -> str:
    """Cut off the node the job runs on."""
    name = h.gang(number).live[0].node
    h.cut_off.add(NodeId(name))
    return name


def test_a_task_that_stops_on_isolation_runs_elsewhere_only_after_its_lease(h: Harness) -> None:
    number = h.submit(job().gpus(1).stops_on_isolation())
    name = cut(h, number)
    answered_s = h.node(name).answered_at
    h.run(CERTAIN_S - (h.mono_s - answered_s) - 1)
    assert h.gang(number).attempt == 1
    h.run(5)
    assert h.gang(number).attempt == 2
    assert h.gang(number).live[0].node != name
    assert h.gang(number).past[0].record.state == "NODE_FAIL"


def test_a_lease_counts_for_as_long_as_when_it_was_granted(
    h: Harness,
) -> None:
    number = h.submit(job().gpus(1).stops_on_isolation())
    name = cut(h, number)
    shorter = msgspec.structs.replace(h.site.timing, task_lease_s=TASK_LEASE_S / 4)
    h.site = msgspec.structs.replace(h.site, timing=shorter)
    h.restart_scheduler()
    h.run(CERTAIN_S - 2)
    assert h.gang(number).attempt == 1
    h.run(5)
    assert h.gang(number).attempt == 2
    h.cut_off.discard(NodeId(name))
    h.run(30)
    assert h.node(name).record.task_lease_s == TASK_LEASE_S / 4, "none of the old one is left"


def on_shared_storage() -> Harness:
    """A site whose checkpoints all nodes can read."""
    plain = site().rack("a", 3).times(task_lease_s=TASK_LEASE_S).build()
    return joined(msgspec.structs.replace(plain, checkpoint_root="/mnt/checkpoints"))


def save_checkpoint(h: Harness, number: JobId, step: int = 10) -> None:
    """The first rank publishes one, and reports it."""
    saved = SavedCheckpoint(step=step, bytes=1 << 20, save_s=1.0, unix_s=h.now.unix_s)
    first = h.gang(number).live[0]
    h.agent(first.node).tasks[first.record.ref].checkpoint = saved
    h.run(3)


@pytest.mark.parametrize("kind", ["training", "batch"])
def test_a_gang_that_has_saved_runs_elsewhere_after_a_lease(kind: JobKind) -> None:
    h = on_shared_storage()
    number = h.submit(job().kind(kind).gpus(1).nodes(2))
    assert not any(a.record.has_task_lease for a in h.gang(number).live)
    save_checkpoint(h, number)
    other, lost = (a.node for a in h.gang(number).live)
    assert all(len(h.sent_to(name, LeaseTask)) == 1 for name in (other, lost)), "its peers as well"
    h.cut_off.add(NodeId(lost))
    h.run(CERTAIN_S + 5)
    assert h.gang(number).attempt == 2
    assert lost not in {a.node for a in h.gang(number).live}
    assert all(a.record.has_task_lease for a in h.gang(number).live), "from its start on"


def test_one_that_has_not_saved_or_says_continue_waits_for_its_node() -> None:
    h = on_shared_storage()
    unsaved, explicit = h.submit(job().gpus(1)), h.submit(job().gpus(1).continues_on_isolation())
    save_checkpoint(h, explicit)
    for number in (unsaved, explicit):
        cut(h, number)
    h.run(CERTAIN_S * 2)
    assert [h.gang(number).attempt for number in (unsaved, explicit)] == [1, 1]


def test_a_lease_that_the_keeper_has_not_listed_is_no_proof_of_its_end() -> None:
    """The order may have been lost with the connection: then the task runs on (I7)."""
    h = on_shared_storage()
    number = h.submit(job().gpus(1))
    task = h.agent(h.gang(number).live[0].node).tasks[h.gang(number).live[0].record.ref]
    task.is_lease_refused = True
    save_checkpoint(h, number)
    cut(h, number)
    h.run(CERTAIN_S * 2)
    assert h.gang(number).attempt == 1


def test_a_restarted_scheduler_knows_the_task_lease_of_a_silent_node() -> None:
    h = on_shared_storage()
    number = h.submit(job().gpus(1))
    save_checkpoint(h, number)
    cut(h, number)
    h.restart_scheduler()
    for name in set(h.agents) - h.cut_off:
        h.join(name)
    h.run(CERTAIN_S + 5)
    assert h.gang(number).attempt == 2


def test_a_task_that_continues_waits_for_its_node(h: Harness) -> None:
    number = h.submit(job().gpus(1))
    name = cut(h, number)
    h.run(CERTAIN_S * 3)
    assert h.gang(number).attempt == 1
    h.cut_off.clear()
    h.run(3)
    assert h.state_of(number) == "RUNNING"
    assert (h.gang(number).attempt, h.gang(number).live[0].node) == (1, name)


def test_the_wait_counts_from_the_last_beat_that_was_answered(h: Harness) -> None:
    """The agent's beats arrive, but it may not know: each answer may have renewed its lease."""
    number = h.submit(job().gpus(1).stops_on_isolation())
    name = h.gang(number).live[0].node
    h.run(50)
    assert h.sent_to(name, BeatSeen)
    last_s = h.node(name).answered_at
    assert h.mono_s - last_s < 2
    h.cut_off.add(NodeId(name))
    h.run(CERTAIN_S - 2)
    assert h.gang(number).attempt == 1


def test_after_a_restart_the_wait_begins_anew(h: Harness) -> None:
    """The run before may have answered a beat just before it died."""
    number = h.submit(job().gpus(1).stops_on_isolation())
    cut(h, number)
    h.run(CERTAIN_S - 10)
    h.restart_scheduler()
    h.join(next(n for n in h.agents if n not in h.cut_off))
    h.run(CERTAIN_S - 5)
    assert h.gang(number).attempt == 1
    h.run(10)
    assert h.gang(number).attempt == 2


def test_the_rest_of_the_gang_is_stopped_when_one_task_is_lost(h: Harness) -> None:
    number = h.submit(job().gpus(1).nodes(2).stops_on_isolation())
    name = cut(h, number)
    other = "a2" if name == "a1" else "a1"
    h.run(CERTAIN_S + 2)
    assert h.sent_to(other, StopTask)
    assert h.gang(number).losses == 1


def test_a_lost_task_that_is_found_running_is_stopped_and_its_usage_booked(h: Harness) -> None:
    number = h.submit(job().gpus(1).stops_on_isolation())
    name = cut(h, number)
    h.run(CERTAIN_S + 5)
    h.cut_off.clear()
    h.run(4)
    assert h.sent_to(name, StopTask)
    assert h.events("stray_stopped")
    assert not [ref for ref in h.agent(name).tasks if ref.attempt == 1]
    assert h.gang(number).past[0].record.exit is not None


def test_who_was_given_up_and_has_lost_its_figures_takes_nothing_back(h: Harness) -> None:
    number = h.submit(job().gpus(1).stops_on_isolation())
    name = h.gang(number).live[0].node
    agent = h.agent(name)
    (task,) = agent.tasks.values()

    def says(usage: TaskUsage, **more: object) -> None:
        report = msgspec.structs.replace(task.report(), usage=usage, **more)
        h.say(name, TaskUpdate(agent.epoch, agent.incarnation, report))

    says(TaskUsage(run_s=900.0, gpu_s=900.0, node_energy_mj=5_000_000))
    h.cut_off.add(NodeId(name))
    h.run(CERTAIN_S + 5)
    (given_up,) = h.gang(number).past
    assert given_up.record.state == "NODE_FAIL"
    # Its disk was wiped: of the energy it knows nothing more.
    says(TaskUsage(run_s=950.0, gpu_s=950.0), phase="ended", exit=TaskExit("exited", 0))
    usage = given_up.record.usage
    assert (usage.gpu_s, usage.node_energy_mj) == (950.0, 5_000_000)
