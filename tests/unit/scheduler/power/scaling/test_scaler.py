"""Watts first, then replicas; on ease late, and never on silence."""

from dataclasses import replace

import pytest
from numpy.random import default_rng

from support.core.services import ALONE_S, CAPACITY, GPU, Service, load_of
from wattline_protocol.ids import Instant, Now, UnixTime
from wattline_runtime.gateway.revisions.rises import LOOK_S, RiseWatch
from wattline_scheduler.power.demand.models import curve
from wattline_scheduler.power.scaling.load_history import HOUR_S, WEEK_HOURS, HourLoad
from wattline_scheduler.power.scaling.scaler import (
    COOL_DOWN_S,
    HOLD_S,
    LOAD_AIM,
    START_S,
    ReplicaGpu,
)

LEARNING_S = 900


def settled(rate: float = 800.0, replicas: int = 2) -> Service:
    service = Service(replicas=replicas)
    for step in range(LEARNING_S):
        service.second(service.load(rate * (1.0 + 0.2 * (step // 60 % 3))))
    service.run(rate, COOL_DOWN_S + 60)
    return service


def test_it_begins_with_all_watts_and_learns_what_a_replica_can_do() -> None:
    service = Service()
    assert service.second(service.load(100.0)).cap_mw == GPU.cap_max_mw
    capacity, _ = settled().scaler.rate.constants
    assert 0.5 * CAPACITY < capacity < 1.1 * CAPACITY


def test_a_rising_load_gets_watts_within_two_seconds_and_replicas_later() -> None:
    service = settled()
    before = service.wanted
    service.run(1_600.0, 2)
    assert service.wanted.cap_mw > 1.1 * before.cap_mw
    assert service.wanted.replicas == before.replicas
    service.run(1_600.0, 60)
    assert service.wanted.replicas > before.replicas
    assert "load" in service.wanted.reason


def test_three_times_the_load_starts_replicas_within_five_seconds() -> None:
    service = settled()
    before = service.replicas
    service.run(2_400.0, 5)
    assert service.replicas > before


def test_chance_starts_no_replicas() -> None:
    """Of 40 requests a second 5 s differ by 7 %, and a twentieth more needs another replica."""
    service = settled(1_300.0)
    count, rate = service.replicas, 1_750.0
    assert service.run(1.07 * rate, 60).replicas > count
    service = settled(1_300.0)
    for requests in default_rng(1).poisson(40, 1_800):
        load = replace(service.load(rate), requests=requests, arrived=rate / 40 * requests)
        assert service.second(load).replicas == count


def test_each_replica_gets_the_cap_of_its_own_gpu_for_the_performance_asked() -> None:
    service = settled()
    small = ReplicaGpu(curve("NVIDIA A100-SXM4-80GB", "decode"), 400_000, 100_000, 400_000)
    service.scaler.gpus = {0: GPU, 1: small, 7: small}
    wanted = service.second(replace(service.load(800.0), waiting={}))
    asked = GPU.performance(wanted.caps_mw[0])
    assert small.cap_min_mw < wanted.caps_mw[1] < small.cap_max_mw
    assert small.performance(wanted.caps_mw[1]) == pytest.approx(asked, abs=0.01)
    assert wanted.caps_mw[7] == wanted.caps_mw[1], "it is not ready yet"
    assert wanted.cap_mw == wanted.caps_mw[0], "of those that are not placed"


def test_a_queue_at_one_replica_raises_its_cap_alone() -> None:
    service = settled()
    load = service.load(800.0)
    load.waiting[1] += 0.3 * CAPACITY  # type: ignore[index]
    caps = service.second(load).caps_mw
    assert caps[1] > caps[0]


def test_replicas_stop_after_the_cool_down() -> None:
    service = settled(1_600.0, 4)
    many = service.replicas
    service.run(200.0, COOL_DOWN_S - 1)
    assert service.replicas == many
    service.run(200.0, START_S)
    assert service.replicas < many


def test_silence_keeps_watts_and_replicas_and_begins_the_cool_down_again() -> None:
    service = settled(1_600.0, 4)
    many, before = service.replicas, service.wanted.caps_mw
    for _ in range(2 * COOL_DOWN_S):
        assert service.second(None).caps_mw == before
    assert service.replicas == many
    service.run(200.0, COOL_DOWN_S - 1)
    assert service.replicas == many


def test_while_a_gateway_is_gone_nothing_falls_and_the_cool_down_begins_at_its_return() -> None:
    service = settled(1_600.0, 4)
    many, before = service.replicas, service.wanted.cap_mw
    for _ in range(2 * COOL_DOWN_S):
        wanted = service.second(replace(service.load(200.0), is_partial=True))
        assert wanted.cap_mw >= before
    assert service.replicas == many
    service.run(200.0, COOL_DOWN_S - 1)
    assert service.replicas == many
    service.run(200.0, START_S)
    assert service.replicas < many


@pytest.mark.parametrize("known_s", [0, LEARNING_S])
def test_what_a_replica_can_do_is_not_learned_from_the_load_of_some_gateways(known_s: int) -> None:
    """Its times are those of all the load."""
    service = Service()
    service.run(400.0, known_s)
    count, before = service.replicas, service.wanted.cap_mw
    learned = service.scaler.alone_s
    for _ in range(2 * LEARNING_S):
        wanted = service.second(replace(load_of(100.0, {}, {0.3: 100}), is_partial=True))
        assert (wanted.replicas, wanted.cap_mw) == (count, before)
    assert service.scaler.alone_s == learned
    assert service.run(400.0, 10).replicas == count


def test_a_time_that_cannot_be_kept_gets_the_watts_and_replicas_of_the_load_alone() -> None:
    service = settled(400.0, 2)
    before = service.replicas
    service.scaler.goal = replace(service.scaler.goal, p95_s=0.001)
    wanted = service.run(400.0, COOL_DOWN_S)
    replicas = wanted.replicas
    assert replicas <= before
    capacity, _ = service.scaler.rate.constants
    assert wanted.cap_mw == GPU.cap_mw(400.0 / (replicas * capacity * LOAD_AIM))
    assert wanted.cap_mw < 0.6 * GPU.cap_max_mw
    assert "its time cannot be kept" in wanted.reason
    wanted = service.run(2.0 * replicas * capacity, 60)
    assert wanted.replicas > replicas, "the load has its replicas nevertheless"


def test_a_time_near_the_least_one_does_not_flap() -> None:
    service = settled(400.0, 2)
    alone_s = service.scaler.alone_s or 0.0
    service.scaler.goal = replace(service.scaler.goal, p95_s=0.99 * alone_s)
    assert service.run(400.0, 5).cap_mw < GPU.cap_max_mw
    service.scaler.goal = replace(service.scaler.goal, p95_s=1.01 * alone_s)
    assert service.run(400.0, 5).cap_mw < GPU.cap_max_mw
    service.scaler.goal = replace(service.scaler.goal, p95_s=1.2 * alone_s)
    assert service.run(400.0, 5).cap_mw == GPU.cap_max_mw


def test_late_requests_start_replicas_before_anything_is_known() -> None:
    service = Service(replicas=2)
    load = service.load(100.0)
    load.waiting[0] += 500.0  # type: ignore[index]
    assert service.second(load).replicas == 3


def test_quick_requests_that_wait_by_chance_start_no_replicas() -> None:
    """One a second, answered in a tenth of the time: now and then one or two are seen to wait."""
    service = Service(replicas=1)
    for waiting in default_rng(1).poisson(0.1, 100):
        load = load_of(1.0, {0: float(waiting)}, {ALONE_S: 1})
        assert service.second(load).replicas == 1


def test_the_same_hour_of_last_week_is_a_floor() -> None:
    service = settled()
    then = int(service.second_s) // HOUR_S + 1 - WEEK_HOURS
    service.scaler.history.hours[then] = HourLoad(3_000.0)
    service.second_s += 3_600.0
    wanted = service.second(service.load(800.0))
    assert wanted.replicas >= 4
    assert "same hour" in wanted.reason


def test_caps_under_which_nothing_is_done_teach_nothing() -> None:
    service = Service()
    for second in range(70):
        now = Now(Instant(second), UnixTime(second))
        service.scaler.second(service.load(100.0), {0: 0}, 1, now)
    assert service.scaler.rate.windows == 0


def risen(service: Service, more: float) -> int:
    """The cap after a rise."""
    service.wanted = service.scaler.rise(more, service.replicas)
    return service.wanted.cap_mw


@pytest.mark.parametrize("tenth", range(10))
def test_a_step_raises_watts_before_its_second_is_over_at_every_phase(tenth: int) -> None:
    """Of 15 requests a second to 45, after so many tenths of a second of what was steady."""
    service, watch, total = settled(), RiseWatch(), 0
    before, each = service.wanted, 800.0 / 15
    for look in range(300 + tenth):
        total = int(1.5 * (look + 1))
        watch.look(total, LOOK_S)
    raised = [
        risen(service, each * watch.look(total + int(4.5 * (look + 1)), LOOK_S))
        for look in range(10)
    ]
    assert raised[6] > 1.05 * before.cap_mw
    assert service.wanted.replicas == before.replicas
    most = service.scaler.rate.constants[0] * service.replicas
    assert raised[-1] >= GPU.cap_mw(min(800.0 / most + 0.9 * 1_600.0 / most, 1.0))


def test_a_rise_holds_as_long_as_a_second_and_lowers_nothing() -> None:
    service = settled()
    before = service.wanted.cap_mw
    assert risen(service, 0.0) == before
    raised = risen(service, 600.0)
    assert raised > 1.1 * before
    assert risen(service, 1.0) == raised
    service.run(800.0, HOLD_S - 1)
    assert service.wanted.cap_mw == raised
    service.run(800.0, 2)
    assert service.wanted.cap_mw < raised


def test_a_rise_of_what_is_not_known_changes_nothing() -> None:
    service = Service()
    service.run(100.0, 2)
    before = service.wanted
    assert risen(service, 1e9) == before.cap_mw, "what a replica can do is not known"
    service = settled()
    before = service.wanted
    assert service.scaler.rise(1e9, 0) == before, "no replica is ready"
