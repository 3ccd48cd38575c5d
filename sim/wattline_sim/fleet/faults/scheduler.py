"""The scheduler crashes, stalls, meets a full disk, an old backup, or a second scheduler."""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from wattline_protocol.ids import NodeId, TaskRef
from wattline_sim.fleet.faults.network import cut_off

if TYPE_CHECKING:
    from wattline_sim.fleet.faults.schedule import Faults

UNHEARD_SHARE = 0.9
EARLY_SHARE = 0.7

LOOK_S = 0.05
TAKE_WITHIN_S = 5.0
"""A backup is taken as soon as somebody waits, or after so long."""
PUT_BACK_WITHIN_S = 25.0
"""Most are put back as soon as something runs that it calls pending, or after so long."""


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
    _once(faults, lambda: _waits(faults), TAKE_WITHIN_S, lambda: _take_backup(faults))
    return ""


def _take_backup(faults: "Faults") -> None:
    backup, taken_s = faults.site.scheduler.disk.backup(), faults.site.world.now_s
    cluster, known = faults.site.scheduler.cluster, set(_running(faults))
    jobs = set() if cluster is None else set(cluster.state.work.jobs)
    within_s, dice = faults.rng.uniform(0.5, PUT_BACK_WITHIN_S), Random(f"{taken_s} unheard")

    def begun() -> list[NodeId]:
        """Nodes that run what the backup calls pending."""
        found = _running(faults).items()
        return sorted({node for ref, node in found if ref.job in jobs and ref not in known})

    def restore() -> None:
        faults.site.restore_backup(backup, down_s=faults.rng.uniform(0.5, 5.0))
        faults.site.story.fault(faults.site.world.now_s, "backup put back", f"of {taken_s:.1f}")
        if begun() and dice.random() < UNHEARD_SHARE:
            last, unheard_s = dice.choice(begun()), dice.uniform(10.0, 30.0)
            faults.site.machines[last].prolong(unheard_s)  # else it has ended before others start
            cut_off(faults, last, unheard_s)

    # The dice are their own: nothing else of the run is drawn otherwise for it.
    is_early = dice.random() < EARLY_SHARE
    _once(faults, lambda: is_early and bool(begun()), within_s, restore)


def _once(
    faults: "Faults", is_so: Callable[[], bool], within_s: float, act: Callable[[], None]
) -> None:
    """Do it as soon as it is so, or after so long."""
    if within_s <= 0 or is_so():
        act()
    else:
        faults.later(min(LOOK_S, within_s), lambda: _once(faults, is_so, within_s - LOOK_S, act))


def _waits(faults: "Faults") -> bool:
    """Somebody does in the scheduler's queue."""
    cluster = faults.site.scheduler.cluster
    return cluster is not None and bool(cluster.state.work.queue)


def _running(faults: "Faults") -> dict[TaskRef, NodeId]:
    """Where each task lives."""
    machines = faults.site.machines.items()
    return {each.order.ref: node for node, one in machines for each in one.living()}


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
