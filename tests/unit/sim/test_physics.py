"""The physics of one GPU and of the node around it, in virtual time."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline_sim.host import NodePhysics, psu_efficiency
from wattline_sim.physics import (
    STEP_MS,
    STEP_NS,
    WINDOW_STEPS,
    GpuInput,
    GpuPhysics,
    Load,
    Reason,
    draw_curve,
)
from wattline_sim.profiles import (
    GPU_MODELS,
    LOAD_PROFILES,
    GpuModel,
    LoadProfile,
    host_model,
    nameplate_w,
)

H100 = GPU_MODELS["h100"]
HOT = Load(LOAD_PROFILES["training-hot"])
MODELS = st.sampled_from(list(GPU_MODELS.values()))
PROFILES = st.sampled_from(list(LOAD_PROFILES.values()))


def run(gpu: GpuPhysics, seconds: float, given: GpuInput, inlet_c: float = 24.0) -> None:
    for _ in range(round(seconds * WINDOW_STEPS)):
        gpu.step(given, inlet_c)


@given(
    model=MODELS,
    seed=st.integers(0, 2**32),
    phases=st.lists(
        st.tuples(PROFILES, st.floats(0.0, 1.0), st.integers(1, 45)), min_size=1, max_size=12
    ),
)
def test_a_one_second_average_never_exceeds_the_limits_of_that_second(
    model: GpuModel, seed: int, phases: list[tuple[LoadProfile, float, int]]
) -> None:
    gpu = GpuPhysics(model, seed, spike_chance=1.0)
    default_mw = model.limit_default_w * 1000
    draws, limits = [0] * WINDOW_STEPS, [default_mw] * WINDOW_STEPS
    span_mw = (model.limit_max_w - model.limit_min_w) * 1000
    for profile, share, steps in phases:
        limit_mw = model.limit_min_w * 1000 + int(span_mw * share)
        load = Load(profile) if profile.high > 0 else None
        for _ in range(steps):
            state = gpu.step(GpuInput(limit_mw, load), 24.0)
            draws.append(state.power_instant_mw)
            limits.append(limit_mw)
            assert sum(draws[-WINDOW_STEPS:]) <= sum(limits[-WINDOW_STEPS:])
            if len(set(limits[-WINDOW_STEPS:])) == 1:
                assert state.power_average_mw <= limit_mw


@given(model=MODELS, profile=PROFILES, seed=st.integers(0, 1000))
def test_even_the_smallest_limit_holds_every_load(
    model: GpuModel, profile: LoadProfile, seed: int
) -> None:
    gpu = GpuPhysics(model, seed, spike_chance=1.0)
    given_input = GpuInput(model.limit_min_w * 1000, Load(profile))
    run(gpu, 2.0, given_input)
    for _ in range(200):
        assert gpu.step(given_input, 24.0).power_average_mw <= model.limit_min_w * 1000


@pytest.mark.parametrize("model", GPU_MODELS.values(), ids=GPU_MODELS)
def test_a_spike_can_be_made_up_for_even_if_only_the_idle_draw_remains(model: GpuModel) -> None:
    high, low = model.limit_max_w * 1000, model.limit_min_w * 1000
    greedy = Load(replace(LOAD_PROFILES["training-hot"], high=1.5, low=1.5))
    for seed, quiet in itertools.product(range(12), (16, 17, 18)):
        gpu = GpuPhysics(model, seed, spike_chance=1.0)
        run(gpu, 2.0, GpuInput(high))
        script = [GpuInput(high, greedy)] * 2 + [GpuInput(low, greedy)] * quiet
        script += [GpuInput(low)] * 8
        draws = [gpu.step(given_input, 24.0).power_instant_mw for given_input in script]
        limits = [given_input.limit_mw for given_input in script]
        for end in range(WINDOW_STEPS, len(script) + 1):
            begin = end - WINDOW_STEPS
            assert sum(draws[begin:end]) <= sum(limits[begin:end])


def test_a_lower_limit_acts_in_the_step_that_sees_it_and_a_higher_one_in_the_next() -> None:
    gpu = GpuPhysics(H100, 3)
    run(gpu, 3.0, GpuInput(700_000, HOT))
    assert gpu.step(GpuInput(300_000, HOT), 24.0).power_instant_mw <= 300_000
    run(gpu, 3.0, GpuInput(300_000, HOT))
    assert gpu.step(GpuInput(700_000, HOT), 24.0).power_instant_mw <= 350_000  # old limit, a spike
    later = [gpu.step(GpuInput(700_000, HOT), 24.0).power_instant_mw for _ in range(WINDOW_STEPS)]
    assert max(later) > 500_000


@given(seed=st.integers(0, 2**32), limits=st.lists(st.integers(200, 700), min_size=2, max_size=10))
def test_energy_is_monotone_and_the_integral_of_the_draw(seed: int, limits: list[int]) -> None:
    gpu = GpuPhysics(H100, seed)
    total_uj = before_uj = 0
    for limit_w in limits:
        for _ in range(10):
            state = gpu.step(GpuInput(limit_w * 1000, HOT), 24.0)
            total_uj += state.power_instant_mw * STEP_MS
            assert state.energy_uj >= before_uj
            before_uj = state.energy_uj
    assert state.energy_uj == total_uj


@pytest.mark.parametrize("model", GPU_MODELS.values(), ids=GPU_MODELS)
def test_an_idle_gpu_draws_its_idle_power_and_says_idle(model: GpuModel) -> None:
    gpu = GpuPhysics(model, 5)
    run(gpu, 120.0, GpuInput(model.limit_default_w * 1000))
    assert gpu.state.power_average_mw == pytest.approx(model.idle_w * 1000, rel=0.08)
    assert gpu.state.reasons == Reason.IDLE
    assert gpu.state.sm_mhz == model.sm_idle_mhz


@pytest.mark.parametrize("name", [n for n in LOAD_PROFILES if n != "idle"])
def test_an_uncapped_load_draws_its_share_of_tdp(name: str) -> None:
    profile = LOAD_PROFILES[name]
    gpu = GpuPhysics(H100, 11)
    run(gpu, 60.0, GpuInput(700_000, Load(profile)))
    before_uj = gpu.state.energy_uj
    run(gpu, 60.0, GpuInput(700_000, Load(profile)))
    mean_w = (gpu.state.energy_uj - before_uj) / 60e6
    assert mean_w == pytest.approx(profile.mean * 700, rel=0.08)


def test_a_cap_costs_clocks_and_is_counted_as_the_reason() -> None:
    gpu = GpuPhysics(H100, 2)
    run(gpu, 5.0, GpuInput(700_000, HOT))
    free_mhz, capped_before_ns = gpu.state.sm_mhz, gpu.state.power_capped_ns
    run(gpu, 5.0, GpuInput(400_000, HOT))
    assert gpu.state.sm_mhz < free_mhz
    assert gpu.state.reasons == Reason.POWER_CAP
    assert gpu.state.power_capped_ns - capped_before_ns == 5 * WINDOW_STEPS * STEP_NS


def test_decode_keeps_its_speed_where_training_loses_clocks() -> None:
    training, decode = (
        draw_curve(H100, LOAD_PROFILES[name]) for name in ("training-hot", "decode")
    )
    half = len(training) // 2
    assert decode[half] > 0.7
    assert training[half] < 0.45


def test_locked_clocks_bind_and_say_so() -> None:
    gpu = GpuPhysics(H100, 2)
    run(gpu, 2.0, GpuInput(700_000, HOT, locked_max_mhz=1200))
    assert gpu.state.sm_mhz == 1200
    assert gpu.state.reasons == Reason.LOCKED_CLOCKS


def test_the_power_brake_halves_clocks_and_is_counted() -> None:
    gpu = GpuPhysics(H100, 2)
    run(gpu, 1.0, GpuInput(700_000, HOT, power_brake=True))
    assert gpu.state.sm_mhz <= H100.sm_max_mhz // 2
    assert gpu.state.reasons == Reason.POWER_BRAKE | Reason.HW_SLOWDOWN
    assert gpu.state.power_brake_ns == WINDOW_STEPS * STEP_NS


def test_hot_air_ends_in_thermal_slowdown_and_a_cap_cures_it() -> None:
    gpu = GpuPhysics(H100, 7)
    run(gpu, 400.0, GpuInput(700_000, HOT), inlet_c=50.0)
    assert gpu.state.software_thermal_ns > 0
    assert gpu.state.gpu_c < H100.shutdown_c
    assert not gpu.state.has_shut_down
    hot_c = gpu.state.gpu_c
    run(gpu, 400.0, GpuInput(400_000, HOT), inlet_c=50.0)
    assert gpu.state.gpu_c < hot_c - 7
    assert gpu.state.reasons == Reason.POWER_CAP


def test_air_beyond_all_protection_shuts_the_card_down() -> None:
    gpu = GpuPhysics(H100, 7)
    run(gpu, 300.0, GpuInput(700_000, HOT), inlet_c=90.0)
    assert gpu.state.has_shut_down
    assert gpu.state.hardware_thermal_ns > 0


@given(seed=st.integers(0, 2**32), limit_w=st.integers(200, 700), inlet_c=st.floats(15, 60))
def test_reasons_and_counters_agree(seed: int, limit_w: int, inlet_c: float) -> None:
    gpu = GpuPhysics(H100, seed)
    counters = [0, 0, 0]
    for step in range(200):
        load = HOT if step % 50 < 40 else None
        state = gpu.step(GpuInput(limit_w * 1000, load), inlet_c)
        flags = (Reason.POWER_CAP, Reason.SW_THERMAL, Reason.HW_THERMAL)
        counters = [
            c + STEP_NS * (f in state.reasons) for c, f in zip(counters, flags, strict=True)
        ]
        assert (Reason.IDLE in state.reasons) == (load is None)
    assert counters == [
        state.power_capped_ns,
        state.software_thermal_ns,
        state.hardware_thermal_ns,
    ]


def test_the_same_seed_gives_the_same_run_and_another_seed_another_card() -> None:
    def energies(seed: int) -> list[int]:
        node = NodePhysics(H100, 4, seed)
        for _ in range(200):
            node.step([GpuInput(700_000, HOT)] * 4, 24.0)
        return [gpu.state.energy_uj for gpu in node.gpus]

    assert energies(1) == energies(1)
    assert energies(1) != energies(2)
    assert len(set(energies(1))) == 4


@given(model=MODELS, seed=st.integers(0, 1000), loaded=st.integers(0, 8))
def test_the_wall_sees_more_than_the_gpus_and_less_than_the_nameplate(
    model: GpuModel, seed: int, loaded: int
) -> None:
    node = NodePhysics(model, 8, seed)
    limit_mw = model.limit_max_w * 1000
    inputs = [GpuInput(limit_mw, HOT if index < loaded else None) for index in range(8)]
    for _ in range(100):
        sample = node.step(inputs, 24.0)
    gpus_w = sum(gpu.state.power_instant_mw for gpu in node.gpus) / 1000
    host = host_model(model, 8)
    other_w = host.base_w + sample.cpu_w + sample.fan_w
    assert other_w <= host.worst_non_gpu_w
    efficiency = psu_efficiency(host, gpus_w + other_w)
    assert host.lowest_efficiency <= efficiency < 1.0
    assert sample.wall_w == pytest.approx((gpus_w + other_w) / efficiency)
    assert gpus_w < sample.wall_w
    assert sample.wall_w <= nameplate_w(model, 8) * 1.03  # one step may hold a spike


def test_fans_follow_heat() -> None:
    node = NodePhysics(H100, 8, 1)
    for _ in range(20 * 180):
        node.step([GpuInput(700_000, HOT)] * 8, 24.0)
    hot = node.sample.fan_duty
    for _ in range(20 * 300):
        node.step([GpuInput(700_000)] * 8, 24.0)
    assert hot > 0.5
    assert node.sample.fan_duty == pytest.approx(node.host.fan_min_duty, abs=0.02)
