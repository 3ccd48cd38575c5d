"""Several tasks on one GPU: shares that add up, watts counted once, idle when all are gone (I2)."""

import pytest

from support.node.parts import order
from support.node.rig import IDLE, MAX, MIN, Rig, messages_of, of, ref, wall
from wattline_agent.core.effects import Effect, Kill, Launch, LockClocks
from wattline_agent.core.invariants import InvariantBroken, check_invariants
from wattline_agent.core.power.gpus import Step
from wattline_agent.core.tasks.attempt import Attempt, Launched
from wattline_agent.core.tasks.usage import divided
from wattline_protocol.ids import GpuIndex
from wattline_protocol.wire.agent_messages import Adopted, Beat, CommandDone, Hello

HALF = 500
A, B, C = ref(job=1), ref(job=2), ref(job=3)


@pytest.fixture
def shared(rig: Rig) -> Rig:
    """Two halves of GPU 0 at work."""
    rig.run(A, 0, gpu_share_permille=HALF)
    rig.run(B, 0, gpu_share_permille=HALF)
    rig.pass_s(5)
    rig.effects.clear()
    return rig


def answer(effects: list[Effect]) -> tuple[str, str]:
    done = messages_of(effects, CommandDone)[-1]
    return done.outcome, done.detail


def beat(rig: Rig, seconds: float = 1) -> Beat:
    return messages_of(rig.pass_s(seconds), Beat)[-1]


def test_two_halves_run_on_one_gpu_at_the_same_time(shared: Rig) -> None:
    assert shared.launches == [A, B]
    assert [(task.ref, task.phase) for task in beat(shared).tasks] == [
        (A, "running"),
        (B, "running"),
    ]


@pytest.mark.parametrize(
    ("share", "words"),
    [(500, "0.4 of it is left"), (1000, "is held by 1.0#1: 0.4"), (401, "0.4 of it")],
)
def test_what_does_not_fit_beside_the_holders_is_refused(rig: Rig, share: int, words: str) -> None:
    rig.run(A, 0, gpu_share_permille=600)
    outcome, detail = answer(rig.start(B, 0, gpu_share_permille=share))
    assert outcome == "refused"
    assert words in detail
    assert answer(rig.start(C, 0, gpu_share_permille=400))[0] == "done"


def test_no_share_of_a_gpu_that_a_task_has_as_a_whole(rig: Rig) -> None:
    rig.run(A, 0)
    assert answer(rig.start(B, 0, gpu_share_permille=1)) == ("refused", "GPU 0 is held by 1.0#1")


def test_a_gpu_in_exclusive_mode_is_not_shared_but_used(rig: Rig) -> None:
    rig.gpus[0].can_share = False
    rig.crash()
    rig.boot()
    rig.ready()
    assert [gpu.can_share for gpu in messages_of(rig.join(), Hello)[-1].gpus] == [False, True]
    rig.lease(wall(2 * MAX))
    outcome, detail = answer(rig.start(A, 0, gpu_share_permille=HALF))
    assert (outcome, "compute mode" in detail) == ("refused", True)
    assert answer(rig.start(B, 0))[0] == "done"


def test_the_second_half_needs_no_more_watts_than_the_first(rig: Rig) -> None:
    rig.lease(wall(MIN + IDLE + 30_000))
    rig.pass_s(4)
    assert answer(rig.start(A, 0, gpu_share_permille=HALF))[0] == "done"
    assert answer(rig.start(B, 0, gpu_share_permille=HALF))[0] == "done"
    assert answer(rig.start(C, 1, gpu_share_permille=HALF))[0] == "not_covered"


def test_a_gpu_is_idle_only_once_all_its_tasks_are_gone(shared: Rig) -> None:
    shared.end(A)
    assert not beat(shared, 5).gpus[0].is_idle
    shared.end(B)
    assert beat(shared, 6).gpus[0].is_idle


def test_a_part_that_is_free_again_is_given_again(shared: Rig) -> None:
    shared.end(A)
    shared.handle(shared.seen())
    assert answer(shared.start(C, 0, gpu_share_permille=HALF))[0] == "done"


def test_pausing_one_of_two_frees_nothing_and_kills_nobody(shared: Rig) -> None:
    held_mw = shared.node.holding_mw or 0
    shared.pause(A)
    done = shared.pass_s(8)
    assert shared.tasks[A].phase == "paused"
    assert not of(done, Kill)
    assert shared.node.holding_mw == held_mw
    assert not beat(shared).gpus[0].is_idle
    shared.pause(B)
    shared.pass_s(8)
    assert beat(shared).gpus[0].is_idle
    assert (shared.node.holding_mw or 0) < held_mw


def test_a_restarted_agent_takes_all_holders_over(shared: Rig) -> None:
    shared.crash()
    shared.boot()
    shared.pass_s(1)
    adopted = messages_of(shared.join(), Adopted) or messages_of(shared.pass_s(6), Adopted)
    assert [(task.ref, task.gpus, task.readopted) for task in adopted[-1].tasks] == [
        (A, (0,), 1),
        (B, (0,), 1),
    ]
    outcome, detail = answer(shared.start(C, 0, gpu_share_permille=1))
    assert (outcome, detail) == ("refused", "GPU 0 is held by 1.0#1, 2.0#1")


def test_a_holder_that_tolerates_slow_clocks_slows_down_nobody_else(rig: Rig) -> None:
    for gpu in rig.gpus:
        gpu.can_lock = True
    rig.crash()
    rig.boot()
    rig.ready()
    rig.run(A, 0, gpu_share_permille=HALF, clock_permille=700)
    assert rig.gpus[0].locked_mhz == 1400
    rig.run(B, 0, gpu_share_permille=HALF)
    rig.pass_s(1)
    assert rig.gpus[0].locked_mhz == 0
    assert not of(rig.pass_s(3), LockClocks)


def test_energy_and_time_are_divided_and_add_up(shared: Rig) -> None:
    before = shared.gpus[0].energy_mj
    first = {task.ref: task.usage for task in beat(shared).tasks}
    shared.pass_s(9)
    last = {task.ref: task.usage for task in beat(shared).tasks}
    grown = {r: last[r].gpu_energy_mj - first[r].gpu_energy_mj for r in (A, B)}
    assert grown[A] == pytest.approx(grown[B], abs=10)
    assert sum(grown.values()) == pytest.approx(10 * MAX, rel=0.01)
    assert shared.gpus[0].energy_mj - before == pytest.approx(11 * MAX, rel=0.01)
    assert last[A].gpu_s - first[A].gpu_s == pytest.approx(10 * HALF / 1000)
    assert last[A].util_gpu_s - first[A].util_gpu_s == pytest.approx(10 * HALF / 1000)


def test_a_frozen_holder_is_booked_nothing_while_another_works(shared: Rig) -> None:
    shared.pause(A)
    shared.pass_s(3)
    first = {task.ref: task.usage.gpu_energy_mj for task in beat(shared).tasks}
    shared.pass_s(4)
    last = {task.ref: task.usage.gpu_energy_mj for task in beat(shared).tasks}
    assert last[A] == first[A]
    assert last[B] - first[B] == pytest.approx(5 * MAX, rel=0.01)


def test_what_the_driver_tells_of_each_ones_use_goes_before_shares(shared: Rig) -> None:
    assert shared.node.shared_gpus == {0}
    shared.use = {GpuIndex(0): {A: 60, B: 20}}
    first = {task.ref: task.usage for task in beat(shared).tasks}
    shared.pass_s(3)
    last = {task.ref: task.usage for task in beat(shared).tasks}
    grown = {r: last[r].gpu_energy_mj - first[r].gpu_energy_mj for r in (A, B)}
    assert grown[A] == pytest.approx(3 * MAX, rel=0.01)
    assert grown[B] == pytest.approx(MAX, rel=0.01)
    assert last[A].util_gpu_s - first[A].util_gpu_s == pytest.approx(3.0, rel=0.01)
    assert last[A].gpu_s - first[A].gpu_s == pytest.approx(2.0, rel=0.01)


def test_a_gpu_with_one_holder_left_is_not_asked_about(shared: Rig) -> None:
    shared.end(A)
    shared.handle(shared.seen())
    assert shared.node.shared_gpus == frozenset()


def test_no_millijoule_is_lost_in_a_division() -> None:
    holders = [holder(300), holder(300), holder(400)]
    parts = divided(Step(1.0, 1001, 0.5, 1.0), holders, {})
    assert sum(part.energy_mj for part in parts) == 1001
    assert [part.util for part in parts] == pytest.approx([0.3, 0.3, 0.4])
    assert [part.cap_bound_s for part in parts] == pytest.approx([0.15, 0.15, 0.2])


def holder(share: int) -> Attempt:
    return Attempt(order(ref(job=share), 0, gpu_share_permille=share), Launched())


def test_what_the_launch_is_told_of_memory(rig: Rig) -> None:
    (launch,) = of(rig.start(A, 0, gpu_share_permille=250), Launch)
    assert launch.context.gpu_memory_bytes == 20 << 30
    (launch,) = of(rig.start(B, 1), Launch)
    assert launch.context.gpu_memory_bytes == 80 << 30


def test_shares_above_the_whole_are_noticed(shared: Rig) -> None:
    state = shared.node.state
    state.attempts[C] = holder(7)
    with pytest.raises(InvariantBroken, match="more than 1000 thousandths"):
        check_invariants(state, shared.now)
