"""Caps that others raise: seen, set back, counted in full, and ended at the cause (I2)."""

import pytest

from support.node.rig import MAX, MIN, Rig, messages_of, of, order, ref, wall
from wattline_agent.core.effects import ApplyCaps, Effect, Freeze, Kill, Launch, Note
from wattline_agent.core.events import CapsRead, TimePassed
from wattline_agent.core.ports import CapResult
from wattline_agent.core.power.raised_caps import HOLD_S
from wattline_protocol.ids import GpuIndex
from wattline_protocol.wire.agent_messages import Beat, Hello

CAP = 300_000
A, B = ref(0), ref(1)


@pytest.fixture
def rig() -> Rig:
    """Two GPUs at 300 W with a task each."""
    rig = Rig()
    rig.ready()
    rig.run(A, 0)
    rig.run(B, 1)
    rig.lease(wall(2 * CAP), CAP, CAP)
    rig.pass_s(5)
    assert [gpu.limit_mw for gpu in rig.gpus] == [CAP, CAP]
    rig.effects.clear()
    return rig


def raise_cap(rig: Rig, gpu: int = 0, mw: int = MAX) -> None:
    """Somebody on the host sets another limit."""
    rig.gpus[gpu].limit_mw = mw


def tick(rig: Rig) -> list[Effect]:
    """A fifth of a second, in which nothing but time passes."""
    rig.now_s += 0.2
    return rig.handle(TimePassed())


def raise_twice(rig: Rig, gpu: int = 0) -> None:
    raise_cap(rig, gpu)
    rig.sample()
    raise_cap(rig, gpu)
    tick(rig)


def beat(rig: Rig) -> Beat:
    return messages_of(rig.pass_s(1), Beat)[-1]


def test_a_raise_is_set_back_at_once_and_is_no_alarm(rig: Rig) -> None:
    raise_cap(rig)
    rig.sample()
    assert rig.gpus[0].limit_mw == CAP
    assert beat(rig).raised == ()
    assert rig.node.state.gpus[0].can_hold


def test_the_second_raise_is_seen_between_two_samples(rig: Rig) -> None:
    began_s = rig.now_s
    raise_twice(rig)
    assert rig.node.state.gpus[0].raised is not None
    assert rig.now_s - began_s < 0.5
    assert rig.gpus[0].limit_mw == MIN, "and it is set as low as it goes"


def test_raised_again_before_it_is_read_back_counts_at_once(rig: Rig) -> None:
    rig.holds_answers = True
    raise_cap(rig)
    rig.sample()
    (ask,) = of(rig.effects, ApplyCaps)
    raise_cap(rig)
    stuck = CapResult(GpuIndex(0), MAX, MAX, "the limit asked for is 700 W", is_taken=True)
    rig.handle(CapsRead(ask.generation, (stuck,)))
    assert rig.node.state.gpus[0].raised is not None


def test_a_raised_gpu_counts_at_its_maximum_and_a_hello_says_so(rig: Rig) -> None:
    raise_twice(rig)
    hello = messages_of(rig.effects, Hello)[-1]
    assert (hello.gpus[0].raised, hello.gpus[0].can_cap) == (True, False)
    assert not hello.gpus[1].raised
    assert rig.node.holding_mw == wall(MAX + MIN), "the other one goes down to make up for it"
    rig.say(rig.welcome(hello))
    (raised,) = beat(rig).raised
    assert (raised.index, raised.limit_mw, raised.set_mw) == (0, MAX, CAP)


def test_without_rights_nothing_is_killed(rig: Rig) -> None:
    raise_twice(rig)
    rig.say(rig.welcome(messages_of(rig.effects, Hello)[-1]))
    assert beat(rig).raised[0].culprits == ()
    rig.pass_s(5)
    assert not of(rig.effects, Freeze)
    assert not of(rig.effects, Kill)


def test_a_privileged_task_on_the_gpu_is_frozen_then_killed(rig: Rig) -> None:
    rig.privileged = {A}
    raise_twice(rig)
    assert [effect.ref for effect in of(rig.effects, Freeze)] == [A]
    assert not of(rig.effects, Kill), "first it is still"
    rig.sample()
    (kill,) = of(rig.effects, Kill)
    assert (kill.ref, kill.kind) == (A, "cap_raised")
    assert "GPU 0 was raised to 700 W 2 times (set: 300 W)" in kill.why
    assert B in rig.tasks
    assert rig.tasks[B].exit is None


def test_what_cannot_be_frozen_is_killed_all_the_same(rig: Rig) -> None:
    rig.privileged, rig.keeps_freezes = {A}, True
    raise_twice(rig)
    rig.pass_s(1)
    assert [effect.ref for effect in of(rig.effects, Kill)] == [A]


def test_a_privileged_task_elsewhere_is_named_and_left_alone(rig: Rig) -> None:
    rig.privileged = {B}
    raise_twice(rig, 0)
    rig.say(rig.welcome(messages_of(rig.effects, Hello)[-1]))
    (raised,) = beat(rig).raised
    assert (raised.culprits, raised.elsewhere) == ((), (B,))
    assert not of(rig.effects, Kill)


def test_after_the_kill_and_a_look_the_gpu_counts_normally(rig: Rig) -> None:
    rig.privileged = {A}
    raise_twice(rig)
    rig.pass_s(2)
    assert rig.node.state.gpus[0].raised is None
    rig.pass_s(5)
    hello = messages_of(rig.effects, Hello)[-1]
    assert (hello.gpus[0].raised, hello.gpus[0].can_cap) == (False, True)


def test_somebody_else_who_goes_on_after_the_kill_is_still_counted(rig: Rig) -> None:
    rig.privileged = {A}
    raise_twice(rig)
    rig.sample()  # killed
    raise_cap(rig)
    rig.pass_s(1)
    raised = rig.node.state.gpus[0].raised
    assert raised is not None
    rig.privileged = set()
    raise_cap(rig)
    rig.pass_s(3)
    assert rig.node.state.gpus[0].raised is not None


def test_an_unknown_process_that_stops_is_forgiven_after_a_while(rig: Rig) -> None:
    raise_twice(rig)
    rig.pass_s(HOLD_S - 10)
    assert rig.node.state.gpus[0].raised is not None
    rig.pass_s(11)
    assert rig.node.state.gpus[0].raised is None


def test_idle_does_not_free_a_raised_gpu(rig: Rig) -> None:
    raise_twice(rig)
    rig.end(A)
    rig.pass_s(10)
    holds = rig.node.holding_mw
    assert holds is not None
    assert holds >= wall(MAX)


def test_nothing_is_started_on_a_raised_gpu(rig: Rig) -> None:
    raise_twice(rig)
    rig.say(rig.welcome(messages_of(rig.effects, Hello)[-1]))
    rig.end(A)
    rig.pass_s(2)
    rig.lease(wall(2 * MAX), MAX, MAX)
    rig.effects.clear()
    rig.start(ref(7), 0)
    assert not of(rig.effects, Launch)


def test_a_condemned_task_is_not_resumed(rig: Rig) -> None:
    rig.privileged, rig.keeps_freezes = {A}, False
    raise_twice(rig)
    rig.say(rig.welcome(messages_of(rig.effects, Hello)[-1]))
    rig.handle(rig.seen())
    rig.resume(A)
    assert rig.tasks[A].phase != "running"


def test_far_apart_raises_are_not_one(rig: Rig) -> None:
    for _ in range(3):
        raise_cap(rig)
        rig.pass_s(70)
    assert rig.node.state.gpus[0].raised is None


def test_a_driver_that_was_loaded_again_raised_nothing(rig: Rig) -> None:
    rig.end(A)
    rig.end(B)
    rig.pass_s(5)
    for _ in range(3):
        rig.reload_driver()
        rig.pass_s(2)
    assert all(gpu.raised is None and not gpu.raised_at for gpu in rig.node.state.gpus)


def test_a_bmc_that_lifts_its_limit_raised_nothing(rig: Rig) -> None:
    for _ in range(3):
        rig.gpus[0].bmc_mw = 250_000
        rig.pass_s(2)
        rig.gpus[0].bmc_mw = MAX
        rig.pass_s(2)
    assert rig.node.state.gpus[0].raised is None


def test_a_gpu_that_was_lost_raised_nothing(rig: Rig) -> None:
    for _ in range(3):
        rig.gpus[0].is_lost = True
        rig.pass_s(2)
        rig.gpus[0].is_lost = False
        rig.gpus[0].limit_mw = MAX
        rig.pass_s(2)
    assert rig.node.state.gpus[0].raised is None


def test_a_driver_that_rounds_up_raised_nothing(rig: Rig) -> None:
    raise_cap(rig)
    rig.holds_answers = True
    rig.sample()
    (ask,) = of(rig.effects, ApplyCaps)
    rounded = CapResult(GpuIndex(0), CAP + 5000, CAP + 5000, is_taken=True)
    rig.handle(CapsRead(ask.generation, (rounded,)))
    assert rig.node.state.gpus[0].raised is None


def test_an_order_that_names_the_owner_is_in_the_log(rig: Rig) -> None:
    assert order(A, 0).owner == "ada"
    rig.privileged = {A}
    raise_twice(rig)
    notes = [note.text for note in of(rig.effects, Note)]
    assert any(text.startswith(f"{A} of ada: killed: the power cap of GPU 0") for text in notes)
