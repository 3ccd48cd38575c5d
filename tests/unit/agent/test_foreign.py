"""Processes on GPUs that belong to no task: such a GPU counts its cap, and nothing starts there."""

import pytest

from support.node.rig import IDLE, MAX, MIN, Rig, messages_of, of, ref, wall
from wattline_agent.core.effects import ApplyCaps, Effect, Kill, Launch
from wattline_agent.core.power.foreign_processes import GONE_S
from wattline_protocol.wire.agent_messages import Beat, CommandDone
from wattline_protocol.wire.gpu_process import GpuProcess

A, B = ref(job=1), ref(job=2)
PYTHON = GpuProcess(4711, "python", "ada", 12 << 30)
LEARNED = 93_000
"""Idle draw with its margin."""


@pytest.fixture
def rig() -> Rig:
    """Two idle GPUs, and a lease for everything."""
    made = Rig()
    made.ready()
    made.lease(wall(2 * MAX))
    made.effects.clear()
    return made


def answer(effects: list[Effect]) -> tuple[str, str]:
    done = messages_of(effects, CommandDone)[-1]
    return done.outcome, done.detail


def beat(rig: Rig, seconds: float = 1) -> Beat:
    return messages_of(rig.pass_s(seconds), Beat)[-1]


def test_such_a_gpu_counts_its_cap_though_it_draws_nothing(rig: Rig) -> None:
    assert beat(rig).holding_mw == wall(2 * LEARNED)
    rig.gpus[0].foreign = (PYTHON,)
    seen = beat(rig, 4)
    assert seen.holding_mw == wall(MIN + LEARNED)
    assert [gpu.is_idle for gpu in seen.gpus] == [False, True]
    assert seen.gpus[0].foreign == (PYTHON,)
    (condition,) = seen.conditions
    assert (condition.kind, condition.subject) == ("foreign_load", "GPU 0")
    assert condition.text == (
        "is in use by process 4711 (python, user ada), which has 12 GiB of its memory: "
        "no task is placed on it"
    )


def test_it_is_offered_again_some_time_after_the_process_is_gone(rig: Rig) -> None:
    rig.gpus[0].foreign = (PYTHON,)
    rig.pass_s(2)
    rig.gpus[0].foreign = ()
    assert beat(rig, GONE_S - 2).gpus[0].foreign
    assert answer(rig.start(A, 0))[0] == "refused"
    last = beat(rig, 6)
    assert not last.gpus[0].foreign
    assert last.gpus[0].is_idle
    assert answer(rig.start(A, 0))[0] == "done"


def test_a_start_there_is_refused_and_names_the_process(rig: Rig) -> None:
    rig.gpus[0].foreign = (PYTHON,)
    rig.pass_s(1)
    why = "GPU 0 is in use by process 4711 (python, user ada)"
    assert answer(rig.start(A, 0)) == ("refused", why)
    assert answer(rig.start(B, 1))[0] == "done"


def test_a_start_rests_on_a_look_since_it_was_ordered(rig: Rig) -> None:
    """The process has come after the last sample."""
    rig.gpus[0].foreign = (PYTHON,)
    rig.now_s += 0.2
    effects = rig.start(A, 0)
    assert of(effects, ApplyCaps)[0].scan == {0}
    assert answer(effects)[0] == "refused"
    assert not of(effects, Launch)
    assert messages_of(effects, Beat)[-1].gpus[0].foreign, "so that no other is ordered there"
    assert A not in rig.node.state.attempts


def test_a_task_beside_it_goes_on_and_has_no_share_given_away(rig: Rig) -> None:
    rig.run(A, 0, gpu_share_permille=500)
    rig.gpus[0].foreign = (PYTHON,)
    seen = beat(rig, 3)
    assert seen.gpus[0].foreign
    assert seen.tasks[0].phase == "running"
    assert answer(rig.start(B, 0, gpu_share_permille=500))[0] == "refused"
    rig.pause(A)
    assert not of(rig.pass_s(9), Kill), "what others draw says nothing about the paused task"
    assert answer(rig.resume(A))[0] == "done"


def test_a_process_of_which_only_its_draw_is_seen_is_looked_for(rig: Rig) -> None:
    rig.gpus[1].foreign_mw = 150_000
    readings = tuple(rig.reading(gpu) for gpu in rig.gpus)
    assert rig.node.unexplained_gpus(readings) == {1}
    rig.run(A, 1)
    assert not rig.node.unexplained_gpus(readings)
    assert IDLE < 150_000


def test_more_than_four_are_named_by_their_number(rig: Rig) -> None:
    rig.gpus[0].foreign = tuple(GpuProcess(n, "a", "b") for n in range(1, 8))
    sample = beat(rig).gpus[0]
    assert len(sample.foreign) == 4
    assert sample.foreign_more == 3


def test_gpus_of_others_are_not_looked_at() -> None:
    made = Rig(managed=frozenset({1}))
    made.ready()
    assert made.node.managed_gpus == {1}
