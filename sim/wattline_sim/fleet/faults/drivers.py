"""GPU drivers that hang, are loaded anew, refuse a cap, or lose a GPU; limits set by a BMC, or by
processes that may not."""

from typing import TYPE_CHECKING

from wattline_sim.fleet.machine import CAP_MAX_MW, RELOAD_S, Gpu, Machine

if TYPE_CHECKING:
    from wattline_sim.fleet.faults.schedule import Faults


def _some_gpu(faults: "Faults") -> tuple[Machine, Gpu]:
    machine = faults.site.machines[faults.some_node()]
    return machine, faults.rng.choice(list(machine.gpus.values()))


def _hang(faults: "Faults") -> str:
    machine, gpu = _some_gpu(faults)
    gpu.hung_until_s = faults.site.world.now_s + faults.rng.uniform(0.5, 12.0)
    faults.lasting(20.0, 20.0, lambda: setattr(gpu, "hung_until_s", 0.0))
    return f"{machine.node} GPU {gpu.index}"


def _reload(faults: "Faults") -> str:
    node = faults.some_node()
    faults.site.machines[node].reload_driver()
    return node


def _reload_unseen(faults: "Faults") -> str:
    """The agent stands still until the driver is back: what was said to it meanwhile is heard
    before the first sample that could tell.
    """
    machines = [m for m in faults.site.machines.values() if not m.is_loaded()]
    if not machines:
        return "nowhere: every host is at work"
    machine = faults.rng.choice(machines)
    machine.reload_driver()
    faults.site.agents[machine.node].stall(RELOAD_S + faults.rng.uniform(0.0, 2.0))
    return machine.node


def _bmc_limit(faults: "Faults") -> str:
    """Of all GPUs of a host: where the last writer wins, a write of the agent must not lift it."""
    machine, _ = _some_gpu(faults)
    limit_mw = faults.rng.randint(250, 600) * 1000
    for gpu in machine.gpus.values():
        gpu.bmc_mw = limit_mw

    def lift() -> None:
        for gpu in machine.gpus.values():
            gpu.bmc_mw = CAP_MAX_MW

    faults.lasting(1.0, 30.0, lift)
    return f"{machine.node} at {limit_mw / 1000:.0f} W"


def _refused(faults: "Faults") -> str:
    machine, gpu = _some_gpu(faults)
    gpu.is_settable = False
    faults.lasting(1.0, 20.0, lambda: setattr(gpu, "is_settable", True))
    return f"{machine.node} GPU {gpu.index}"


def _lost(faults: "Faults") -> str:
    machine, gpu = _some_gpu(faults)
    machine.lose(gpu)
    faults.lasting(3.0, 30.0, lambda: machine.bring_back(gpu))
    return f"{machine.node} GPU {gpu.index}"


def _task_raises(faults: "Faults") -> str:
    machine = faults.site.machines[faults.some_node()]
    return faults.site.raising.by_task(machine, faults.rng.uniform(5.0, 40.0))


def _stranger_raises(faults: "Faults") -> str:
    machine, gpu = _some_gpu(faults)
    return faults.site.raising.by_stranger(machine, gpu, faults.rng.uniform(5.0, 40.0))


KINDS = {
    "driver hang": _hang,
    "driver reload": _reload,
    "driver reload unseen": _reload_unseen,
    "BMC limit": _bmc_limit,
    "cap refused": _refused,
    "GPU lost": _lost,
    "task raises caps": _task_raises,
    "unknown process raises caps": _stranger_raises,
}
