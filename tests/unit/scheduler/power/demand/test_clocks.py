"""Which jobs run at locked clocks: only those whose users said what slowdown they tolerate."""

import pytest

from support.core.sites import gpu
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.power.demand.clocks import EFFICIENT_PERMILLE, clock_permille
from wattline_scheduler.power.demand.useful_cap import Need

H100 = gpu(0, can_lock_clocks=True)
T4 = gpu(0, cap_min_mw=60_000, cap_default_mw=70_000, cap_max_mw=70_000, can_lock_clocks=True)
UNCAPPABLE = gpu(0, can_cap=False, can_lock_clocks=True)


@pytest.mark.parametrize("device", [H100, T4, UNCAPPABLE])
@pytest.mark.parametrize("least", [0, 1000])
def test_nobody_is_slowed_who_did_not_say_so(device: GpuInfo, least: int) -> None:
    for is_service in (False, True):
        need = Need(min_performance_permille=least, is_service=is_service)
        assert clock_permille(need, device) == 1000


def test_a_service_that_tolerates_a_little_decodes_at_efficient_clocks() -> None:
    need = Need(min_performance_permille=850, is_service=True)
    assert clock_permille(need, H100) == EFFICIENT_PERMILLE
    strict = Need(min_performance_permille=950, is_service=True)
    assert clock_permille(strict, H100) == 1000


@pytest.mark.parametrize("device", [T4, UNCAPPABLE])
def test_where_caps_do_not_reach_work_slows_no_more_than_was_said(device: GpuInfo) -> None:
    assert clock_permille(Need(min_performance_permille=850), device) == 850
    assert clock_permille(Need(min_performance_permille=400), device) == EFFICIENT_PERMILLE


def test_training_on_cards_that_caps_hold_is_left_to_caps() -> None:
    assert clock_permille(Need(min_performance_permille=700), H100) == 1000


def test_clocks_that_cannot_be_locked_are_not_asked_for() -> None:
    need = Need(min_performance_permille=850, is_service=True)
    assert clock_permille(need, gpu(0)) == 1000
