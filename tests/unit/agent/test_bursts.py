"""Many starts and ends at once: one question to the driver, and no news that nobody waits for."""

import pytest

from support.node.rig import MAX, MIN, Rig, messages_of, names, of, order, ref, wall
from wattline_agent.core.effects import ApplyCaps, Launch
from wattline_agent.core.events import SchedulerMessage, TimePassed
from wattline_agent.core.tasks.attempts import FRESH_S
from wattline_protocol.ids import Epoch, GpuIndex, Incarnation, Sequence
from wattline_protocol.wire.agent_messages import CommandDone, StartTask, StopTask, TaskUpdate

GPUS = 4


@pytest.fixture
def rig() -> Rig:
    """Idle GPUs and a lease for all of them."""
    made = Rig(GPUS)
    made.ready()
    made.lease(wall(GPUS * MAX))
    made.effects.clear()
    return made


def start(rig: Rig, gpu: int) -> SchedulerMessage:
    rig.seq += 1
    wanted = order(ref(job=gpu + 1), gpu)
    whom = Epoch(rig.epoch), Incarnation(rig.incarnation)
    return SchedulerMessage(StartTask(*whom, Sequence(rig.seq), wanted))


def test_starts_that_came_together_are_one_question_to_the_driver(rig: Rig) -> None:
    done = rig.handle(*(start(rig, gpu) for gpu in range(GPUS)))
    (asked,) = of(done, ApplyCaps)
    assert set(asked.caps_mw) == {GpuIndex(gpu) for gpu in range(GPUS)}
    assert names(done)[:2] == ["ApplyCaps", "Launch"]
    assert len(of(done, Launch)) == GPUS
    assert [answer.outcome for answer in messages_of(done, CommandDone)] == ["done"] * GPUS


def test_of_starts_that_came_together_only_those_that_are_covered_begin(rig: Rig) -> None:
    lease_mw = wall(2 * MIN + 2 * rig.node.state.gpus[0].idle_bound_mw)
    rig.lease(lease_mw)
    rig.pass_s(5)
    done = rig.handle(*(start(rig, gpu) for gpu in range(GPUS)))
    outcomes = [answer.outcome for answer in messages_of(done, CommandDone)]
    assert sorted(outcomes) == ["done", "done", "not_covered", "not_covered"]
    assert len(of(done, Launch)) == 2
    assert rig.allowed_wall_mw() <= lease_mw


def test_a_stop_that_came_with_its_start_is_obeyed(rig: Rig) -> None:
    whom = Epoch(rig.epoch), Incarnation(rig.incarnation)
    begun = start(rig, 0)
    rig.seq += 1
    stop = SchedulerMessage(StopTask(*whom, Sequence(rig.seq), ref(), 1.0, "changed my mind"))
    assert not of(rig.handle(begun, stop), Launch)


def test_what_ends_at_once_is_told_once(rig: Rig) -> None:
    done = rig.handle(start(rig, 0))
    done += rig.handle(rig.seen())
    rig.end(ref())
    done += rig.handle(rig.seen())
    assert [update.report.phase for update in messages_of(done, TaskUpdate)] == ["ended"]
    assert rig.node.due_s is None


def test_what_runs_on_is_told_soon_though_nothing_happens(rig: Rig) -> None:
    rig.handle(start(rig, 0))
    rig.handle(rig.seen())
    assert rig.node.due_s == rig.now_s + FRESH_S
    rig.now_s += FRESH_S
    updates = messages_of(rig.handle(TimePassed()), TaskUpdate)
    assert [update.report.phase for update in updates] == ["running"]
    assert rig.node.due_s is None


def test_a_node_that_nobody_has_welcomed_has_nothing_to_tell(rig: Rig) -> None:
    rig.handle(start(rig, 0))
    rig.crash()
    rig.boot()
    assert rig.node.due_s is None
