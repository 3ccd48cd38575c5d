"""MIG devices at the agent: each to one task, with its own memory; the GPU counts as a whole."""

from dataclasses import replace

import pytest

from support.node.parts import order
from support.node.rig import IDLE, MAX, Rig, messages_of, of, ref, wall
from wattline_agent.core.effects import ApplyCaps, Effect, Launch
from wattline_agent.core.events import DriverReloaded
from wattline_agent.core.invariants import InvariantBroken, check_invariants
from wattline_protocol.wire.agent_messages import Beat, CommandDone, Hello
from wattline_protocol.wire.mig import MigInstance

A, B, C = ref(job=1), ref(job=2), ref(job=3)
LARGE = MigInstance("MIG-a", "3g.40gb", 40 << 30, 428)
OTHER = MigInstance("MIG-b", "3g.40gb", 40 << 30, 428)
SMALL = MigInstance("MIG-c", "1g.10gb", 10 << 30, 142)


@pytest.fixture
def rig() -> Rig:
    """GPU 0 is in MIG mode, GPU 1 is not; a lease for all of both."""
    made = Rig()
    made.gpus[0].mig = (LARGE, OTHER)
    made.ready()
    made.lease(wall(2 * MAX))
    made.effects.clear()
    return made


def answer(effects: list[Effect]) -> tuple[str, str]:
    done = messages_of(effects, CommandDone)[-1]
    return done.outcome, done.detail


def run(rig: Rig, name: object, mig: MigInstance) -> None:
    rig.run(name, 0, gpu_share_permille=mig.share_permille, mig=mig.uuid)  # type: ignore[arg-type]  # a ref


def test_the_greeting_names_them() -> None:
    made = Rig()
    made.gpus[0].mig = (LARGE,)
    made.join()
    hello = messages_of(made.effects, Hello)[0]
    assert [gpu.mig for gpu in hello.gpus] == [(LARGE,), None]


def test_a_task_sees_its_device_and_the_memory_of_that(rig: Rig) -> None:
    effects = rig.start(A, 0, gpu_share_permille=428, mig="MIG-b")
    launch = of(effects, Launch)[0]
    assert launch.context.gpu_uuids == ("MIG-b",)
    assert launch.context.gpu_memory_bytes == 40 << 30


def test_two_devices_of_one_gpu_are_busy_at_once_and_it_counts_once(rig: Rig) -> None:
    run(rig, A, LARGE)
    before_mw = messages_of(rig.pass_s(5), Beat)[-1].holding_mw
    run(rig, B, OTHER)
    assert messages_of(rig.pass_s(5), Beat)[-1].holding_mw == before_mw
    rig.end(A)
    assert messages_of(rig.pass_s(6), Beat)[-1].holding_mw == before_mw, "the other still runs"
    rig.end(B)
    assert not messages_of(rig.pass_s(1), Beat)[-1].gpus[0].is_idle, "it has to settle (I2)"
    assert messages_of(rig.pass_s(8), Beat)[-1].gpus[0].is_idle


@pytest.mark.parametrize(
    ("gpus", "wanted", "words"),
    [
        ((0,), {}, "only its MIG devices are allocated"),
        ((0,), {"gpu_share_permille": 500}, "only its MIG devices are allocated"),
        ((0,), {"mig": "MIG-x"}, "GPU 0 has no MIG device MIG-x"),
        ((1,), {"mig": "MIG-a"}, "GPU 1 has no MIG device MIG-a"),
        ((0, 1), {"mig": "MIG-a"}, "a MIG device belongs to one GPU"),
        ((0,), {"mig": "MIG-a"}, "MIG device MIG-a is held by 1.0#1"),
    ],
)
def test_what_is_not_there_or_held_is_refused(
    rig: Rig, gpus: tuple[int, ...], wanted: dict[str, object], words: str
) -> None:
    run(rig, A, LARGE)
    outcome, detail = answer(rig.start(C, *gpus, **wanted))
    assert outcome == "refused"
    assert words in detail


def test_a_gpu_that_did_not_say_its_uuid_gets_no_task_until_it_is_listed_again(rig: Rig) -> None:
    """It answers by now, and may be in MIG mode."""
    silent = replace(rig.infos()[0], uuid="", mig=None)
    rig.handle(DriverReloaded(rig.driver_instance, (silent, rig.infos()[1])))
    assert [gpu.healthy for gpu in messages_of(rig.pass_s(2), Hello)[-1].gpus] == [False, True]
    assert answer(rig.start(A, 0)) == ("refused", "GPU 0 is not healthy: its UUID was not read")
    rig.handle(DriverReloaded(rig.driver_instance, rig.infos()))
    run(rig, A, LARGE)


def test_energy_is_divided_by_slices(rig: Rig) -> None:
    rig.gpus[0].mig = (LARGE, SMALL)
    rig.handle(DriverReloaded(rig.driver_instance, rig.infos()))
    run(rig, A, LARGE)
    run(rig, B, SMALL)
    tasks = {task.ref: task.usage for task in messages_of(rig.pass_s(60), Beat)[-1].tasks}
    share = tasks[A].gpu_energy_mj / tasks[B].gpu_energy_mj
    assert share == pytest.approx(428 / 142, rel=0.05)
    assert tasks[A].gpu_s == pytest.approx(tasks[A].run_s * 0.428)


def test_a_device_held_twice_breaks_an_invariant(rig: Rig) -> None:
    run(rig, A, LARGE)
    attempt = rig.node.state.attempts[A]
    other = replace(attempt, order=order(B, 0, gpu_share_permille=428, mig=LARGE.uuid))
    rig.node.state.attempts[B] = other
    with pytest.raises(InvariantBroken, match="held twice"):
        check_invariants(rig.node.state, rig.now)


def test_other_devices_are_told_and_leave_caps_and_counters_alone(rig: Rig) -> None:
    rig.run(B, 1)
    rig.pass_s(5)
    used = rig.node.state.attempts[B].usage
    rig.effects.clear()
    rig.gpus[0].mig = (SMALL,)
    rig.handle(DriverReloaded(rig.driver_instance, rig.infos()))
    assert not [e for e in rig.effects if isinstance(e, ApplyCaps)]
    assert rig.node.state.attempts[B].usage == used
    hello = messages_of(rig.pass_s(15), Hello)[-1]
    assert hello.gpus[0].mig == (SMALL,)


def test_idle_draw_is_learned_without_utilisation() -> None:
    rig = Rig()
    rig.gpus[0].mig = (LARGE,)
    rig.boot()
    before = rig.node.state.gpus[0].learned_idle_mw
    rig.pass_s(30)
    after = rig.node.state.gpus[0].learned_idle_mw
    assert before is None
    assert after is not None
    assert after < 2 * IDLE
