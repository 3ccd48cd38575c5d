"""A node of the fleet simulation tells of its processes what a real keeper tells."""

from support.node.keepers import CONTEXT, order, ref
from wattline_protocol.ids import NodeId
from wattline_sim.fleet.hardware import SIM_SECONDS
from wattline_sim.fleet.machine import Machine
from wattline_sim.fleet.world import World


def test_a_pause_is_no_run_time() -> None:
    machine = Machine(World(1), NodeId("n0"), 2)
    machine.launch(order("work", env={SIM_SECONDS: "5"}), CONTEXT)
    for at_s, act in ((2.0, machine.freeze), (60.0, machine.thaw)):
        machine.world.run_until(at_s)
        act(ref())
    machine.world.run_until(61.0)
    assert reported(machine) == ("running", 3)
    machine.prolong(10.0)
    machine.world.run_until(62.0)
    assert reported(machine) == ("running", 4)
    machine.freeze(ref())
    machine.world.run_until(90.0)
    assert reported(machine) == ("paused", 4)
    machine.thaw(ref())
    machine.world.run_until(120.0)
    assert reported(machine) == ("ended", 15)


def reported(machine: Machine) -> tuple[str, int]:
    (seen,) = machine.seen()
    return seen.phase, round(seen.run_s)
