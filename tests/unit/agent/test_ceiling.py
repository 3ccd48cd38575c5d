"""Limits that a BMC holds below the host's: no cap above them is set, for that could lift them."""

import pytest

from support.node.rig import MAX, MIN, Rig, messages_of, of, ref, wall
from wattline_agent.core.effects import ApplyCaps, RestoreCaps
from wattline_agent.core.events import StopAsked
from wattline_agent.core.ports import CapResult, held_below, to_write
from wattline_protocol.ids import GpuIndex
from wattline_protocol.wire.agent_messages import Beat

HELD = 500_000


@pytest.fixture
def rig() -> Rig:
    """A GPU whose BMC held 500 W before the agent came, and one without."""
    made = Rig()
    made.gpus[0].bmc_mw = HELD
    made.ready()
    return made


def asked(rig: Rig, gpu: int) -> set[int]:
    """Caps set on it since the last look."""
    index = GpuIndex(gpu)
    return {one.caps_mw[index] for one in of(rig.effects, ApplyCaps) if index in one.caps_mw}


def test_growth_stops_where_the_bmc_held_it(rig: Rig) -> None:
    """The floors, which came first, hide what the BMC holds."""
    assert rig.gpus[0].limit_mw == MIN
    rig.lease(wall(2 * MAX))
    rig.start(ref(), 0, 1)
    assert (rig.gpus[0].limit_mw, rig.gpus[1].limit_mw) == (HELD, MAX)
    assert max(asked(rig, 0)) == HELD
    (condition,) = messages_of(rig.pass_s(1), Beat)[-1].conditions
    assert (condition.kind, condition.subject) == ("cap_ceiling", "GPU 0")


def test_a_restarted_agent_knows_it_from_its_disk(rig: Rig) -> None:
    rig.crash()
    rig.join()
    rig.pass_s(8)
    rig.run(ref(), 0)
    assert rig.gpus[0].limit_mw == HELD


def test_a_driver_that_is_loaded_anew_is_looked_at_before_anything_is_set(rig: Rig) -> None:
    rig.gpus[0].bmc_mw = MAX
    rig.reload_driver()
    rig.run(ref(), 0)
    assert rig.gpus[0].limit_mw == MAX, "what was known of the old one is void"


def test_a_host_limit_that_the_lease_allows_stays_and_shows_when_it_is_lifted(rig: Rig) -> None:
    rig.run(ref(), 1)
    rig.gpus[1].bmc_mw = HELD
    rig.effects.clear()
    rig.pass_s(3)
    assert not asked(rig, 1)
    assert rig.node.state.gpus[1].ceiling_mw == HELD
    rig.gpus[1].bmc_mw = MAX
    rig.pass_s(2)
    assert rig.node.state.gpus[1].ceiling_mw is None


def test_a_raised_host_limit_that_the_lease_allows_stays_and_counts(rig: Rig) -> None:
    """A write could lift the BMC's. Once a lease has lowered it, the next raise is the second."""
    rig.run(ref(), 1)
    rig.lease(wall(2 * MAX), MIN, HELD + 50_000)
    rig.gpus[1].bmc_mw = HELD
    rig.pass_s(1)
    rig.lease(wall(2 * MAX), MIN, MAX)
    rig.effects.clear()
    rig.gpus[1].limit_mw = MAX
    rig.pass_s(3)
    assert not asked(rig, 1)
    held_mw = rig.node.holding_mw
    assert held_mw is not None
    assert held_mw >= wall(MAX), "the BMC may lift its own at any time"
    rig.gpus[1].bmc_mw = MAX
    rig.lease(wall(MIN))
    assert rig.gpus[1].limit_mw == MIN
    rig.gpus[1].limit_mw = MAX
    rig.pass_s(1)
    assert rig.node.state.gpus[1].raised is not None


def test_a_lower_lease_moves_below_it_and_the_next_growth_ends_at_it(rig: Rig) -> None:
    rig.run(ref(), 1)
    rig.gpus[1].bmc_mw = HELD
    rig.pass_s(2)
    rig.lease(wall(400_000))
    assert rig.gpus[1].limit_mw < HELD
    rig.lease(wall(2 * MAX))
    assert rig.gpus[1].limit_mw == HELD


def test_an_operator_lifts_it_with_nvidia_smi(rig: Rig) -> None:
    rig.run(ref(), 0)
    rig.gpus[0].bmc_mw = rig.gpus[0].limit_mw = MAX
    rig.pass_s(3)
    assert rig.node.state.gpus[0].ceiling_mw is None
    assert rig.gpus[0].limit_mw == MAX


def test_a_clean_stop_gives_back_no_more_than_the_bmc_held(rig: Rig) -> None:
    rig.effects.clear()
    rig.handle(StopAsked())
    (restored,) = of(rig.effects, RestoreCaps)
    assert restored.caps_mw == {0: HELD, 1: MAX}


def test_a_write_is_never_above_a_limit_that_is_not_the_hosts() -> None:
    held = CapResult(GpuIndex(0), HELD, MAX)
    assert to_write(held, MAX) == HELD
    assert to_write(held, MIN) == MIN
    assert to_write(CapResult(GpuIndex(0), 400_000, 400_000), MAX) == MAX
    assert held_below(399_500, 400_000) is None, "rounded by the driver"
    assert held_below(None, MAX) is None


def test_a_clean_stop_sets_none_above_it_although_the_host_limit_read_last_is(rig: Rig) -> None:
    """Another set may be under way: where the last writer wins, this one would lift the BMC's."""
    rig.gpus[1].bmc_mw = HELD
    rig.pass_s(8)
    gpu = rig.node.state.gpus[1]
    gpu.ceiling_mw, gpu.enforced_mw, gpu.host_limit_mw = HELD, HELD, MAX
    rig.effects.clear()
    rig.handle(StopAsked())
    (restored,) = of(rig.effects, RestoreCaps)
    assert restored.caps_mw[GpuIndex(1)] <= HELD
