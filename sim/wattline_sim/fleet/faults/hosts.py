"""Agents that crash, stop or stall; hosts that reboot, lose power, fill or lose their disk."""

from typing import TYPE_CHECKING

from wattline_sim.fleet.adversaries.lying import LIES_ON_S
from wattline_sim.fleet.faults.network import cut_off

SECOND_WIPE_SHARE = 0.5

if TYPE_CHECKING:
    from wattline_sim.fleet.faults.schedule import Faults


def _agent_crash(faults: "Faults") -> str:
    node = faults.some_node()
    faults.site.crash_agent(node, down_s=faults.rng.uniform(0.1, 10.0))
    return node


def _agent_back_alone(faults: "Faults") -> str:
    """It is there again, and nobody welcomes it for a while: all that it knows is on its disk."""
    node, down_s = faults.some_node(), faults.rng.uniform(0.1, 2.0)
    cut_off(faults, node, down_s + faults.rng.uniform(2.0, 20.0))
    faults.site.crash_agent(node, down_s)
    return node


def _agent_restart(faults: "Faults") -> str:
    node = faults.some_node()
    faults.site.restart_agent(node, down_s=faults.rng.uniform(0.1, 10.0))
    return node


def _agent_stall(faults: "Faults") -> str:
    node = faults.some_node()
    faults.site.agents[node].stall(faults.rng.uniform(0.5, 20.0))
    return node


def _reboot(faults: "Faults") -> str:
    node = faults.some_node()
    faults.site.reboot(node, down_s=faults.rng.uniform(1.0, 10.0))
    return node


def _wipe(faults: "Faults") -> str:
    """Often twice, so that words to who forgot everything the first time are still under way."""
    node = faults.some_node()

    def wipe() -> None:
        faults.site.crash_agent(node, down_s=faults.rng.uniform(0.1, 3.0))
        faults.site.machines[node].wipe_disk()

    wipe()
    if faults.rng.random() < SECOND_WIPE_SHARE:
        faults.later(faults.rng.uniform(4.0, 12.0), wipe)
    return node


def _disk_full(faults: "Faults") -> str:
    node = faults.some_node()
    machine = faults.site.machines[node]
    machine.is_disk_full = True
    faults.lasting(1.0, 20.0, lambda: setattr(machine, "is_disk_full", False))
    return node


def _clock_jump(faults: "Faults") -> str:
    node = faults.some_node()
    faults.site.machines[node].clock.jump(faults.rng.uniform(-1e4, 1e4))
    return node


def _power_off(faults: "Faults") -> str:
    node = faults.some_node()
    faults.site.power_off(node, for_s=faults.rng.uniform(3.0, 20.0))
    return node


def _lie(faults: "Faults") -> str:
    """For a while; half of them go on after everything else is well again."""
    node, site = faults.some_node(), faults.site
    told = site.lying.begin(node)
    if faults.rng.random() < 0.5:
        faults.lasting(5.0, 60.0, lambda: site.stop_lying(node))
    else:
        faults.outlasting(LIES_ON_S, lambda: site.stop_lying(node))
    return told


KINDS = {
    "agent crash": _agent_crash,
    "agent back alone": _agent_back_alone,
    "agent restart": _agent_restart,
    "agent stall": _agent_stall,
    "host reboot": _reboot,
    "wiped disk": _wipe,
    "agent disk full": _disk_full,
    "clock jump": _clock_jump,
    "power off": _power_off,
    "lying agent": _lie,
}
