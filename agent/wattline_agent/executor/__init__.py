"""From a task order to a running attempt: directories, environment, argv."""

from collections.abc import Callable
from pathlib import Path

from wattline_agent.core.ports import TaskRunner
from wattline_agent.executor.runner import KeeperRunner
from wattline_agent.secrets.secret_store import SecretStore

__all__ = ["open_runner"]


def open_runner(
    state_dir: Path,
    interface: Callable[[], str] = str,
    site_id: str = "",
    secrets: SecretStore | None = None,
) -> TaskRunner:
    """Runner of the node's tasks, those of earlier agents included. `interface`: that of gangs,
    empty = unknown. `site_id`: of the site among all. `secrets`: of the node; None = below the
    state directory. Raises KeeperAbsent."""
    return KeeperRunner(state_dir, interface=interface, site_id=site_id, secrets=secrets)
