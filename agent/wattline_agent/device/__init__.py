"""GPUs behind one protocol: NVML, a replay of recorded readings, and the collector over either."""

from pathlib import Path

from wattline_agent.core.ports import Collector
from wattline_agent.device.collector import DriverCollector
from wattline_agent.device.nvml import NvmlDriver

__all__ = ["open_collector"]


def open_collector(
    nvml_lib: Path | None = None, sysfs_root: Path = Path("/sys"), *, may_set: bool = True
) -> Collector:
    """A running collector over NVML. `nvml_lib`: the library to use in place of the system's.

    Without `may_set` (observe mode) no call sets anything: persistence mode is unchanged, and a GPU
    with limits is presumed cappable. Raises DriverAbsent when there is no usable driver.
    """
    return DriverCollector(NvmlDriver(nvml_lib, sysfs_root, may_set=may_set))
