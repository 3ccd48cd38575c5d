"""Starting a process as the keeper does, for tests that have no loop to hear of it."""

import os
import select

from support.node.simnode import DEADLINE_S
from wattline_agent.keeper import spawn
from wattline_agent.keeper.spawn import Launch


def spawned(launch: Launch) -> int:
    """Process number of the started task, after its exec succeeded. Raises NotStarted."""
    if launch.account is None and spawn.has_vfork():
        return spawn.spawn_quick(launch)
    pid, status_pipe = spawn.fork(launch)
    try:
        assert select.select([status_pipe], [], [], DEADLINE_S)[0], "no exec"
        problem = spawn.read_status(status_pipe, launch).problem
    finally:
        os.close(status_pipe)
    if problem is not None:
        os.waitpid(pid, 0)
        raise problem
    return pid
