"""Thermal resistance learned from samples, and what placement makes of it."""

import pytest

from support.core.sites import gpu
from wattline_protocol.ids import GpuIndex, Instant, NodeId
from wattline_protocol.wire.agent_messages import GpuSample
from wattline_scheduler.power.sensing.thermal import Thermal, coolest_first

NODE = NodeId("a1")


def sample(power_w: float, temp_c: int, index: int = 0) -> GpuSample:
    return GpuSample(GpuIndex(index), int(power_w * 1000), 700_000, temp_c=temp_c)


def learned(thermal: Thermal, power_w: float, temp_c: int, inlet_c: float = 22.0) -> None:
    for second in range(0, 1200, 8):
        thermal.observe(NODE, sample(power_w, temp_c), inlet_c, Instant(float(second)))


def test_it_is_degrees_above_the_air_for_each_watt() -> None:
    thermal = Thermal()
    learned(thermal, 500.0, 72)
    assert thermal.c_per_w(NODE, GpuIndex(0)) == pytest.approx(0.1, rel=0.01)


def test_a_step_of_power_is_no_worse_heatsink() -> None:
    thermal = Thermal()
    learned(thermal, 200.0, 42)
    temp_c = 42.0
    for second in range(1200, 1260, 8):
        temp_c += (22 + 60 - temp_c) * 0.2  # the heatsink follows a step to 600 W slowly
        thermal.observe(NODE, sample(600.0, round(temp_c)), 22.0, Instant(float(second)))
    assert thermal.c_per_w(NODE, GpuIndex(0)) == pytest.approx(0.1, rel=0.25)


@pytest.mark.parametrize(
    ("power_w", "temp_c", "inlet_c"), [(60.0, 30, 22.0), (500.0, 20, 22.0), (500.0, 70, 200.0)]
)
def test_what_teaches_nothing(power_w: float, temp_c: int, inlet_c: float) -> None:
    thermal = Thermal()
    learned(thermal, power_w, temp_c, inlet_c)
    assert thermal.c_per_w(NODE, GpuIndex(0)) is None


def test_a_sample_without_temperature_teaches_nothing() -> None:
    thermal = Thermal()
    thermal.observe(NODE, GpuSample(GpuIndex(0), 500_000, 700_000), 22.0, Instant(0.0))
    assert thermal.c_per_w(NODE, GpuIndex(0)) is None


def test_warm_air_and_a_bad_heatsink_count_and_cool_ones_are_all_alike() -> None:
    thermal = Thermal()
    cool = gpu(0, cap_max_mw=400_000)
    assert thermal.warmth(NODE, cool, 18.0) == thermal.warmth(NODE, cool, 24.0) == 0
    hot = gpu(0)
    assert thermal.warmth(NODE, hot, 32.0) > thermal.warmth(NODE, hot, 22.0)
    assert thermal.warmth(NODE, hot, None) == thermal.warmth(NODE, hot, 25.0)
    assert thermal.warmth(NODE, hot, 999.0) == thermal.warmth(NODE, hot, 25.0)
    before = thermal.warmth(NODE, hot, 22.0)
    learned(thermal, 500.0, 92)
    assert thermal.warmth(NODE, hot, 22.0) > before


def test_coolest_first_otherwise_as_they_stand() -> None:
    gpus = [gpu(i) for i in range(3)]
    assert [g.index for g in coolest_first({GpuIndex(0): 2}, gpus)] == [1, 2, 0]
