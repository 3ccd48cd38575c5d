"""From a task order to a running attempt: directories, environment, argv."""

from collections.abc import Callable
from pathlib import Path

from wattline_agent.core.ports import TaskRunner
from wattline_agent.executor.runner import KeeperRunner

__all__ = ["open_runner"]


def open_runner(
    state_dir: Path, interface: Callable[[], str] = str, site_id: str = ""
) -> TaskRunner:
    """Runner of the node's tasks, those of earlier agents included. `interface`: that of gangs,
    empty = unknown. `site_id`: of the site among all. Raises KeeperAbsent."""
    return KeeperRunner(state_dir, interface=interface, site_id=site_id)
