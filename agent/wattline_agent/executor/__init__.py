"""From a task order to a running attempt: directories, environment, argv."""

import contextlib
from collections.abc import Callable
from pathlib import Path

from wattline_agent.core.ports import KeeperAbsent, TaskRunner
from wattline_agent.executor.runner import KeeperRunner
from wattline_agent.keeper.client import KeeperClient, KeeperDown, KeeperRefused
from wattline_agent.secrets.secret_store import SecretStore

__all__ = ["living_tasks", "open_runner"]


def open_runner(
    state_dir: Path,
    interface: Callable[[], str] = str,
    site_id: str = "",
    secrets: SecretStore | None = None,
    on_unreadable: Callable[[str], object] = str,
) -> TaskRunner:
    """Runner of the node's tasks, those of earlier agents included. `interface`: that of gangs,
    empty = unknown. `site_id`: of the site among all. `secrets`: of the node; None = below the
    state directory. `on_unreadable`: called with the key of each attempt that is ended because its
    order cannot be read. Raises KeeperAbsent."""
    return KeeperRunner(
        state_dir,
        interface=interface,
        site_id=site_id,
        secrets=secrets,
        on_unreadable=on_unreadable,
    )


def living_tasks(state_dir: Path) -> int:
    """Number of tasks of the keeper that have not ended. It changes nothing, so that it may be
    called beside a running agent; a runner ends and removes what it does not know. Raises
    KeeperAbsent."""
    try:
        with contextlib.closing(KeeperClient(state_dir.resolve())) as keeper:
            views = keeper.ask("list")["tasks"]
    except (KeeperDown, KeeperRefused) as error:
        raise KeeperAbsent(str(error)) from error
    return sum(view["phase"] != "ended" for view in views)
