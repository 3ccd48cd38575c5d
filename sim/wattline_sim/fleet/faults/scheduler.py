"""The scheduler crashes, stalls, meets a full disk, an old backup, or a second scheduler."""

from random import Random
from typing import TYPE_CHECKING

from wattline_sim.fleet.faults.network import cut_off

if TYPE_CHECKING:
    from wattline_sim.fleet.faults.schedule import Faults

UNHEARD_SHARE = 0.7


def _crash(faults: "Faults") -> str:
    faults.site.scheduler.crash(down_s=faults.rng.uniform(0.1, 10.0))
    return ""


def _reboot(faults: "Faults") -> str:
    faults.site.scheduler.reboot(down_s=faults.rng.uniform(1.0, 10.0))
    return ""


def _stall(faults: "Faults") -> str:
    faults.site.scheduler.stall(faults.rng.uniform(0.2, 15.0))
    return ""


def _disk_full(faults: "Faults") -> str:
    disk = faults.site.scheduler.disk
    disk.fill()
    faults.lasting(0.5, 15.0, disk.free)
    return ""


def _clock_jump(faults: "Faults") -> str:
    by_s = faults.rng.uniform(-1e4, 1e4)
    faults.site.scheduler.clock.jump(by_s)
    return f"{by_s:.0f} s"


def _backup(faults: "Faults") -> str:
    backup, taken_s = faults.site.scheduler.disk.backup(), faults.site.world.now_s

    def restore() -> None:
        if not faults.is_over:
            faults.site.restore_backup(backup, down_s=faults.rng.uniform(0.5, 5.0))
            faults.site.story.fault(faults.site.world.now_s, "backup put back", f"of {taken_s:.1f}")
            _keep_one_unheard(faults, Random(f"{taken_s} unheard"))

    faults.site.world.after(faults.rng.uniform(0.5, 25.0), restore)
    return ""


def _keep_one_unheard(faults: "Faults", dice: Random) -> None:
    """A node that runs what the backup may call pending is the last one to be heard. The dice are
    its own: nothing else of the run is drawn otherwise for it."""
    busy = [node for node, one in sorted(faults.site.machines.items()) if one.given()]
    if busy and dice.random() < UNHEARD_SHARE:
        cut_off(faults, dice.choice(busy), dice.uniform(5.0, 30.0))


def _second(faults: "Faults") -> str:
    faults.site.scheduler.replace(old_runs_on_s=faults.rng.uniform(0.0, 10.0))
    return ""


KINDS = {
    "scheduler crash": _crash,
    "scheduler host reboot": _reboot,
    "scheduler stall": _stall,
    "scheduler disk full": _disk_full,
    "scheduler clock jump": _clock_jump,
    "second scheduler": _second,
    "backup taken": _backup,
}
