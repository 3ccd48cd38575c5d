"""What the container of a task is made of, from its order; and whether this host has podman."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from wattline_agent.core.ports import LaunchContext
from wattline_agent.executor.launchers.enter_container import PODMAN_PATH
from wattline_agent.executor.tasklib import HELPER, container_launcher
from wattline_protocol.wire.task_order import TaskOrder

CDI_GPU = "nvidia.com/gpu"
"""Kind of the devices that `nvidia-ctk cdi generate --device-name-strategy=uuid` describes."""
DRIVER_PATH = "LD_LIBRARY_PATH"
"""Names the folder of a simulated driver, which the container then sees."""


def find_podman() -> str:
    """Path of podman, where containers look for it; empty = there is none."""
    return shutil.which("podman", path=PODMAN_PATH) or ""


class NotMountable(ValueError):
    """A path that podman cannot be given; the text names it."""


def container_argv(
    order: TaskOrder,
    context: LaunchContext,
    tasklib: Path,
    folders: Iterable[str],
    secrets: str = "",
    versions: Iterable[str] = (),
) -> tuple[str, ...]:
    """Command line that executes `podman run` for the order. `folders`: what the task finds at the
    same paths as without a container; so are its `secrets`, and its `versions` of data sets. Raises
    NotMountable."""
    site = context.containers
    simulated = context.is_simulated
    plan = {
        "image": order.image,
        "command": order.command,
        "runtime": site.runtime,
        "images": site.images,
        "mounts": [
            *(*_plain(folders), f"{tasklib}:ro", *_read_only(secrets)),
            *(f"{version}:ro" for version in _plain(versions)),
            *site.mounts,
        ],
        "devices": [] if simulated else [f"{CDI_GPU}={uuid}" for uuid in context.gpu_uuids],
        "env": [*order.env, *([DRIVER_PATH] if simulated else [])],
        "is_simulated": simulated,
        "has_secrets": bool(secrets),
    }
    return (*HELPER, container_launcher(tasklib), json.dumps(plan))


def _read_only(secrets: str) -> list[str]:
    return [f"{folder}:ro" for folder in _plain([secrets])] if secrets else []


def _plain(folders: Iterable[str]) -> Iterable[str]:
    for folder in folders:
        if ":" in folder or "," in folder:
            raise NotMountable(f"podman mounts no path with a colon or comma: {folder}")
        yield folder
