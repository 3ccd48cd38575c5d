"""One reading of the host, from the best source available.

hwmon: the node's wall power is measured; the non-GPU load follows. RAPL: processors and memory are
measured, fans, drives and board are modelled. Neither: processors are modelled from their load. A
model is for accounting only: the safety bound is the site file's worst case.
"""

import os
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

import psutil

from wattline_agent.core.ports import HostReading
from wattline_agent.host.busy import BusyMeter
from wattline_agent.host.hwmon import HwmonSensors
from wattline_agent.host.rapl import RaplMeter
from wattline_protocol.site.wall_power import PERMILLE, wall_mw

REST_MW = 200_000
"""Modelled draw of fans, drives, network and board of a GPU server."""
IDLE_CPU_MW = 500
BUSY_CPU_MW = 3_000
"""Modelled draw of one logical processor, idle and busy: two 350 W sockets of 112 threads each."""


STEADY_READINGS = 4
"""The node's meter and the GPUs' averages are up to two seconds apart. While the GPUs' draw falls,
the rest would be overestimated, so the lowest of these readings counts."""


class SysfsSensors:
    """See `ports.HostSensors`."""

    def __init__(self, sysfs_root: Path = Path("/sys"), work_dir: Path | None = None) -> None:
        self._work_dir = work_dir
        self._rapl = RaplMeter(sysfs_root)
        self._hwmon = HwmonSensors(sysfs_root)
        self._rest_mw: deque[int] = deque(maxlen=STEADY_READINGS)
        self._cpus = os.cpu_count() or 1
        self._busy = BusyMeter()
        self._cpu_pct, self._memory_used_bytes = 0.0, 0
        self._read_proc()  # the first call has nothing to compare with

    def read(self, gpu_mw: int, psu_efficiency_permille: int) -> HostReading:
        """Current reading; `gpu_mw` is the GPUs' draw, to split the node's power."""
        self._read_proc()
        cpu_pct = self._cpu_pct
        node_mw = self._hwmon.node_mw()
        now_s = time.monotonic()
        rapl_mw = self._rapl.read_mw(now_s)
        if node_mw is not None:
            source = "hwmon"
            rest_mw = node_mw * psu_efficiency_permille // PERMILLE - gpu_mw
            self._rest_mw.append(max(0, rest_mw))
            non_gpu_mw = min(self._rest_mw)
        elif rapl_mw is not None:
            source, non_gpu_mw = "rapl+model", rapl_mw + REST_MW
            node_mw = wall_mw(gpu_mw + non_gpu_mw, psu_efficiency_permille)
        else:
            source, non_gpu_mw = "model", modelled_mw(self._cpus, cpu_pct)
        busy = self._busy.read(now_s)
        disk_bytes, disk_used_bytes = _disk(self._work_dir)
        return HostReading(
            cpu_pct=cpu_pct,
            memory_used_bytes=self._memory_used_bytes,
            node_mw=node_mw,
            source=source,
            inlet_c=self._hwmon.inlet_c(),
            non_gpu_mw=non_gpu_mw,
            disk_busy=busy.disk,
            network_busy=busy.network,
            disk_bytes=disk_bytes,
            disk_used_bytes=disk_used_bytes,
            link=busy.link,
        )

    def close(self) -> None:
        """Release files."""
        self._rapl.close()
        self._hwmon.close()

    def _read_proc(self) -> None:
        """The last values stay where none can be read: no descriptor may be left for it."""
        with suppress(OSError):
            self._cpu_pct = psutil.cpu_percent(None)
            self._memory_used_bytes = psutil.virtual_memory().used


def _disk(work_dir: Path | None) -> tuple[int | None, int | None]:
    """Size of its file system, and what of that tasks cannot write to. The agent writes its state
    there: it depends on that disk anyway."""
    try:
        found = None if work_dir is None else psutil.disk_usage(str(work_dir))
    except OSError:
        found = None
    return (None, None) if found is None else (found.total, found.total - found.free)


def modelled_mw(cpus: int, cpu_pct: float) -> int:
    """Draw of a host without GPUs whose `cpus` logical processors are busy to `cpu_pct`."""
    busy_mw = (BUSY_CPU_MW - IDLE_CPU_MW) * cpu_pct / 100
    return REST_MW + round(cpus * (IDLE_CPU_MW + busy_mw))
