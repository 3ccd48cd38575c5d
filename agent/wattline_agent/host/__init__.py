"""Sensors of the host apart from its GPUs: node power, inlet temperature, processors, memory, disk
and network."""

from pathlib import Path

from wattline_agent.core.ports import HostSensors
from wattline_agent.host.sensors import SysfsSensors

__all__ = ["open_sensors"]


def open_sensors(sysfs_root: Path = Path("/sys"), work_dir: Path | None = None) -> HostSensors:
    """All sensors below `sysfs_root`, and the file system of `work_dir`; none at all is normal."""
    return SysfsSensors(sysfs_root, work_dir)
