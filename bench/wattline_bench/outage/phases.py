"""The phases: what fails, and when the service counts as whole again."""

import os
import signal
import time
from collections.abc import Callable, Mapping

import psutil

from wattline_bench.outage.ground import Ground

AWAY_S = 3.0
"""How long a program is away that its service manager starts again."""
SILENT_S = 12.0
"""How long a stopped process is stopped."""
TIGHT_S = 15.0
"""How long a grid event lasts."""
FLOOR_SHARE, SHED_SHARE = 0.42, 0.25

Phase = Callable[[Ground], None]
"""Makes its fault, and undoes what an operator or a service manager would."""


def worker_kill(ground: Ground) -> None:
    os.kill(_a_worker(ground), signal.SIGKILL)


def worker_stop(ground: Ground) -> None:
    pid = _a_worker(ground)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(SILENT_S)
    os.kill(pid, signal.SIGCONT)


def worker_hang(ground: Ground) -> None:
    """The worker ends by itself, which takes longer than the service needs to do without it."""
    pid = _a_worker(ground)
    (ground.switches / f"hang-{pid}").touch()
    ground.until(lambda: pid not in ground.workers(), "the worker that hangs has ended")


def agent_kill(ground: Ground) -> None:
    node = ground.workers()[_a_worker(ground)]
    ground.processes.kill(f"agent-{node}")
    time.sleep(AWAY_S)
    ground.restart_agent(node)


def scheduler_kill(ground: Ground) -> None:
    ground.live.kill()
    time.sleep(AWAY_S)
    ground.live.restart()
    ground.live.ready()


def scheduler_worker_kill(ground: Ground) -> None:
    ground.live.kill()
    os.kill(_a_worker(ground), signal.SIGKILL)
    time.sleep(AWAY_S)
    ground.live.restart()
    ground.live.ready()


def host_kill(ground: Ground) -> None:
    """It comes back once a replica on another host stands in for the one on it."""
    node = ground.workers()[_a_worker(ground)]
    before = ground.ready("east")
    ground.kill_host(node)
    ground.until(lambda: ground.ready("east") < before, "a replica is missed")
    ground.until_whole()
    ground.start_host(node)


def gateway_kill(ground: Ground) -> None:
    ground.processes.kill("east")
    time.sleep(AWAY_S)
    ground.start_gateway("east")


def gateway_restart(ground: Ground) -> None:
    ground.take_over("east")


def rollout(ground: Ground) -> None:
    ground.roll_out(until="done")


def rollout_failed(ground: Ground) -> None:
    ground.roll_out(fails="predict", until="back")


def caps_floor(ground: Ground) -> None:
    _tight(ground, "floor", FLOOR_SHARE, ground.is_at_floor)


def shed_25(ground: Ground) -> None:
    _tight(ground, "shed", SHED_SHARE, ground.is_shed)


def _tight(ground: Ground, name: str, share: float, is_in_force: Callable[[], bool]) -> None:
    ground.event(name, share)
    ground.until(is_in_force, f"event {name} is in force")
    time.sleep(TIGHT_S)
    ground.end_event(name)


def _a_worker(ground: Ground) -> int:
    """The oldest: it has answered requests, so that it knows how long a batch takes."""
    return min(ground.workers(), key=lambda pid: psutil.Process(pid).create_time())


PHASES: Mapping[str, Phase] = {
    phase.__name__: phase
    for phase in (
        worker_kill,
        worker_stop,
        worker_hang,
        agent_kill,
        scheduler_kill,
        scheduler_worker_kill,
        gateway_kill,
        gateway_restart,
        rollout,
        rollout_failed,
        caps_floor,
        shed_25,
        host_kill,  # the last one: what stands in for its replica takes the spare GPUs for a minute
    )
}
