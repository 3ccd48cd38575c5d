"""What is learned of a GPU for good: only from averages, and idle draw only of an empty one."""

import pytest

from support.node.parts import MODEL
from support.node.rig import MAX, MIN, Rig, messages_of, of, ref, wall
from wattline_agent.core.effects import Kill
from wattline_agent.core.ports import DeviceInfo, FastReading
from wattline_agent.core.power.gpus import (
    INSTANTS,
    LEARN_FLOOR_S,
    Gpu,
    learn_idle,
    overshoot_seen,
    take_reading,
)
from wattline_protocol.ids import GpuIndex
from wattline_protocol.wire.agent_messages import Beat
from wattline_protocol.wire.gpu_process import GpuProcess

W = 1000
CAP = 400 * W
FLOOR = 190 * W
"""Above what an idle GPU may draw by itself (a quarter of its maximum), below its minimum cap."""


def gpu() -> Gpu:
    """At a cap that has been in force for long."""
    info = DeviceInfo(GpuIndex(0), "GPU-0", MODEL, 80 << 30, MIN, MAX, MAX, can_cap=True)
    return Gpu(info, is_managed=True, enforced_mw=CAP, host_limit_mw=CAP, limit_since_s=-100.0)


def seen(one: Gpu, at_s: float, mw: int, energy_mj: int | None, *, is_average: bool) -> int:
    """Overshoot by one more reading."""
    reading = FastReading(
        GpuIndex(0),
        at_s,
        mw,
        enforced_mw=CAP,
        host_limit_mw=CAP,
        util_pct=100,
        energy_mj=energy_mj,
        is_average=is_average,
    )
    take_reading(one, reading, has_task=True)
    return overshoot_seen(one)


# --- overshoot ----------------------------------------------------------------------------


def test_one_moment_above_the_cap_is_no_overshoot() -> None:
    one = gpu()
    for second in range(5):
        assert not seen(one, second, CAP + 90 * W, second * CAP, is_average=False)
    assert not one.is_ineffective


def test_a_moment_far_above_the_cap_does_not_make_it_ineffective() -> None:
    one = gpu()
    seen(one, 0.0, CAP, 0, is_average=False)
    assert not seen(one, 1.0, 2 * CAP, CAP, is_average=False)
    assert not one.is_ineffective


@pytest.mark.parametrize("mw", [2**32 - 1, 2 * MAX + 1, -1], ids=["all bits", "twice", "below 0"])
def test_a_draw_that_is_impossible_was_not_measured(mw: int) -> None:
    one = gpu()
    for second in range(5):
        assert not seen(one, second, mw, None, is_average=True)
        assert one.reading is not None
        assert one.reading.power_mw is None
    assert not one.is_ineffective
    assert not one.is_idle


def test_a_counter_that_jumps_counts_no_energy_and_is_no_overshoot() -> None:
    one, counts = gpu(), [0, CAP, 2**60, 2**60 + CAP, 4 * CAP, 5 * CAP]
    steps = []
    for second, energy_mj in enumerate(counts):
        reading = FastReading(GpuIndex(0), second, CAP, enforced_mw=CAP, energy_mj=energy_mj)
        steps.append(take_reading(one, reading, has_task=True))
        assert not overshoot_seen(one) > 1000
    assert [step and step.energy_mj for step in steps] == [None, *[CAP] * 5]
    assert not one.is_ineffective


def test_a_limit_of_zero_shows_no_overshoot() -> None:
    """A driver that reports it has no limit: the draw over it is no number."""
    one = gpu()
    for second in range(5):
        reading = FastReading(
            GpuIndex(0), second, CAP, enforced_mw=0, host_limit_mw=CAP, is_average=True
        )
        take_reading(one, reading, has_task=True)
        assert not overshoot_seen(one)
    assert not one.is_ineffective


def test_energy_over_a_second_above_the_cap_is() -> None:
    one = gpu()
    seen(one, 0.0, CAP, 0, is_average=False)
    assert not seen(one, 0.3, CAP, 130 * W, is_average=False), "over less than a second"
    assert seen(one, 1.3, CAP, 130 * W + 410 * W, is_average=False) == 1030


def test_without_a_counter_the_mean_of_some_moments_is() -> None:
    one = gpu()
    found = [seen(one, s, 420 * W, None, is_average=False) for s in range(INSTANTS + 1)]
    assert found[: INSTANTS - 1] == [0] * (INSTANTS - 1)
    assert found[-1] == 1050


def test_an_average_of_the_card_itself_is_taken_as_it_is() -> None:
    assert seen(gpu(), 0.0, 408 * W, None, is_average=True) == 1020


# --- idle draw ----------------------------------------------------------------------------


@pytest.fixture
def rig() -> Rig:
    """A GPU that is kept at a floor by its driver, and one that is not."""
    made = Rig()
    made.gpus[0].foreign_mw, made.gpus[0].util_pct = FLOOR, 0
    made.ready()
    return made


def test_a_floor_is_learned_of_an_empty_gpu_and_then_it_counts_as_idle(rig: Rig) -> None:
    assert not messages_of(rig.pass_s(5), Beat)[-1].gpus[0].is_idle
    rig.pass_s(LEARN_FLOOR_S + 10)
    assert rig.disk.state is not None
    learned_mw = rig.disk.state.idle_mw["GPU-0"]
    assert FLOOR < learned_mw <= MAX
    rig.join()
    last = messages_of(rig.pass_s(8), Beat)[-1]
    assert last.gpus[0].is_idle
    assert last.holding_mw >= wall(FLOOR), "no less than it draws"


def test_what_a_foreign_process_draws_is_never_learned(rig: Rig) -> None:
    rig.gpus[0].foreign = (GpuProcess(7, "python", "ada"),)
    rig.pass_s(2 * LEARN_FLOOR_S)
    assert rig.disk.state is not None
    assert "GPU-0" not in rig.disk.state.idle_mw


def test_a_draw_that_swings_is_no_floor() -> None:
    one = gpu()
    for second in range(200):
        draw_mw = FLOOR if second % 7 else FLOOR + 40 * W
        reading = FastReading(GpuIndex(0), float(second), draw_mw, enforced_mw=CAP, util_pct=0)
        take_reading(one, reading, has_task=False)
        one.scanned_s = float(second)
        assert not learn_idle(one, has_task=False)


def test_without_a_look_at_its_processes_no_floor_is_learned() -> None:
    one = gpu()
    one.scanned_s = -1000.0
    for second in range(200):
        reading = FastReading(GpuIndex(0), float(second), FLOOR, enforced_mw=CAP, util_pct=0)
        take_reading(one, reading, has_task=False)
        assert not learn_idle(one, has_task=False)


def test_a_paused_task_is_not_killed_for_a_floor_that_is_not_known_yet(rig: Rig) -> None:
    """Its GPU computes nothing: to kill it would free no watts."""
    rig.run(ref(), 0)
    rig.pass_s(2)
    rig.pause(ref())
    assert not of(rig.pass_s(12), Kill)


def test_a_paused_task_whose_gpu_computes_on_is_killed(rig: Rig) -> None:
    rig.run(ref(), 0)
    rig.pass_s(2)
    rig.gpus[0].util_pct = 100
    rig.pause(ref())
    assert of(rig.pass_s(12), Kill)
