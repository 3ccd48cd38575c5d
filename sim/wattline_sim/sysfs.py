"""Writes the sysfs tree of a simulated node: powercap (RAPL), hwmon, and the driver's module.

Readers keep their file descriptors open, so files are rewritten in place with texts of constant
width (padded with blanks before the newline, which every integer parser skips).
"""

import os
from pathlib import Path

from wattline_sim.host import NodeSample

RAPL_ZONES = 2
RAPL_RANGE_UJ = 262_143_328_850  # what two-socket servers report; an idle zone wraps in an hour
FANS = 6
_FAN_MAX_RPM = 16_000
_WIDTH = 14


class SysfsTree:
    """The files of one node, open for rewriting."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files: dict[str, int] = {}
        self._make_powercap()
        self._make_hwmon()
        if not (root / "module" / "nvidia").exists():  # else the driver was loaded all along
            self.reload_driver_module()

    def _text(self, relative: str, text: str) -> None:
        path = self._root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")

    def _number(self, relative: str, value: int) -> None:
        """Make a file whose number changes, and keep it open."""
        self._text(relative, str(value).ljust(_WIDTH))
        self._files[relative] = os.open(self._root / relative, os.O_WRONLY | os.O_CLOEXEC)

    def _make_powercap(self) -> None:
        for zone in range(RAPL_ZONES):
            folder = f"class/powercap/intel-rapl:{zone}"
            self._text(f"{folder}/name", f"package-{zone}")
            self._text(f"{folder}/max_energy_range_uj", str(RAPL_RANGE_UJ))
            self._number(f"{folder}/energy_uj", 0)

    def _make_hwmon(self) -> None:
        self._text("class/hwmon/hwmon0/name", "power_meter")
        self._text("class/hwmon/hwmon0/power1_average_interval", "1000")
        self._number("class/hwmon/hwmon0/power1_average", 0)
        self._text("class/hwmon/hwmon1/name", "chassis")
        self._text("class/hwmon/hwmon1/temp1_label", "Inlet")
        self._number("class/hwmon/hwmon1/temp1_input", 0)
        for fan in range(1, FANS + 1):
            self._text(f"class/hwmon/hwmon1/fan{fan}_label", f"Fan {fan}")
            self._number(f"class/hwmon/hwmon1/fan{fan}_input", 0)

    def reload_driver_module(self) -> None:
        """Make ``module/nvidia`` anew: as on a real host its inode and change time tell one load
        of the driver from the next."""
        folder = self._root / "module" / "nvidia"
        if folder.exists():
            for entry in folder.iterdir():
                entry.unlink()
            # Renamed and kept until the new one exists, so that the inode cannot be reused.
            old = folder.with_name(".nvidia-unloaded")
            folder.rename(old)
            folder.mkdir()
            old.rmdir()
        self._text("module/nvidia/initstate", "live")

    def _rewrite(self, relative: str, value: int) -> None:
        os.pwrite(self._files[relative], f"{value:<{_WIDTH}d}\n".encode(), 0)

    def write_energy(self, sample: NodeSample) -> None:
        """The RAPL counters, after every step; they wrap as the hardware's do."""
        for zone in range(RAPL_ZONES):
            share_uj = sample.cpu_energy_uj // RAPL_ZONES
            self._rewrite(
                f"class/powercap/intel-rapl:{zone}/energy_uj", share_uj % (RAPL_RANGE_UJ + 1)
            )

    def write_sensors(self, average_wall_w: float, inlet_c: float, fan_duty: float) -> None:
        """The meter's 1 s average, inlet and fans, once a second."""
        self._rewrite("class/hwmon/hwmon0/power1_average", round(average_wall_w * 1e6))
        self._rewrite("class/hwmon/hwmon1/temp1_input", round(inlet_c * 1000))
        for fan in range(1, FANS + 1):
            rpm = round(_FAN_MAX_RPM * fan_duty)
            self._rewrite(f"class/hwmon/hwmon1/fan{fan}_input", rpm)

    def close(self) -> None:
        """Release the files."""
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()
