"""How long a process that raises a cap may go uncounted in the fleet simulation (I2)."""

import pytest

from wattline_protocol.ids import GpuIndex, NodeId
from wattline_sim.fleet.adversaries.raising import ALLOWED_S, Raising
from wattline_sim.fleet.machine import CAP_MAX_MW, Machine
from wattline_sim.fleet.world import World

NODE, GPU = NodeId("n0"), GpuIndex(0)
HIGH_MW, LOW_MW = 350_000, 200_000


class Host:
    """A GPU whose limit a process raises, and the books of its node."""

    def __init__(self) -> None:
        self.world = World(1)
        self.machine = Machine(self.world, NODE, 1)
        self.is_covered = False
        machines = {NODE: self.machine}
        self.raising = Raising(self.world, machines, lambda *_: False, lambda _: self.is_covered)
        self.machine.set_cap(GPU, HIGH_MW)
        self.raising.by_stranger(self.machine, self.machine.gpus[GPU], 60.0)

    @property
    def is_excused(self) -> bool:
        return GPU in self.raising.excused(NODE)

    def set_back(self) -> None:
        """As an agent does that counts nothing."""
        self.machine.set_cap(GPU, LOW_MW)
        self.world.after(0.2, self.set_back)


@pytest.fixture
def host() -> Host:
    return Host()


def test_a_limit_that_stays_raised_above_the_books_is_excused_for_a_while(host: Host) -> None:
    host.world.run_until(ALLOWED_S - 0.1)
    assert host.is_excused
    host.world.run_until(ALLOWED_S + 0.1)
    assert not host.is_excused


def test_a_loop_that_is_set_back_each_time_is_excused_no_longer(host: Host) -> None:
    host.set_back()
    host.world.run_until(ALLOWED_S + 0.1)
    assert not host.is_excused


def test_a_raise_that_follows_one_which_the_lease_allowed_has_its_own_while(host: Host) -> None:
    """Below a BMC's limit an agent leaves such a limit, and sees no more of the loop."""
    host.is_covered = True
    host.world.run_until(20.0)
    assert host.machine.gpus[GPU].limit_mw == CAP_MAX_MW
    host.machine.set_cap(GPU, LOW_MW)
    host.world.run_until(20.0 + 1.7)
    host.is_covered = False
    assert host.machine.gpus[GPU].limit_mw == CAP_MAX_MW, "raised again"
    assert host.is_excused
    host.world.run_until(20.0 + 1.7 + ALLOWED_S)
    assert not host.is_excused
