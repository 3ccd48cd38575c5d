"""Node power and inlet temperature from hwmon.

The ACPI power meter (`power_meter`) of servers that have one measures the power of the whole node
at the wall. Inlet temperature is the input with that label.
"""

from collections.abc import Iterable
from pathlib import Path

from wattline_agent.host.numberfile import NumberFile, open_number, read_text

METER_NAME = "power_meter"
INLET_WORDS = ("inlet", "ambient")
MAX_CHIPS = 256
MAX_POWER_MW = 200_000_000
"""No single node draws 200 kW: a meter that reports more is broken."""
INLET_RANGE_MC = (-40_000, 90_000)


class HwmonSensors:
    """The files found at start."""

    def __init__(self, sysfs_root: Path) -> None:
        folder = sysfs_root / "class" / "hwmon"
        chips = sorted(folder.glob("hwmon*"))[:MAX_CHIPS] if folder.is_dir() else []
        self._meter = _first(_open_meter(chip) for chip in chips)
        self._inlet = _first(_open_inlet(chip) for chip in chips)

    def node_mw(self) -> int | None:
        """Power at the wall. A meter that reads nothing or zero is not working."""
        value_uw = self._meter.read() if self._meter is not None else None
        if value_uw is None or not 0 < value_uw // 1000 <= MAX_POWER_MW:
            return None
        return value_uw // 1000

    def inlet_c(self) -> float | None:
        """Temperature of the inlet air."""
        value_mc = self._inlet.read() if self._inlet is not None else None
        low, high = INLET_RANGE_MC
        if value_mc is None or not low <= value_mc <= high:
            return None
        return value_mc / 1000

    def close(self) -> None:
        """Release the files."""
        for file in (self._meter, self._inlet):
            if file is not None:
                file.close()


def _first(files: Iterable[NumberFile | None]) -> NumberFile | None:
    return next((file for file in files if file is not None), None)


def _open_meter(chip: Path) -> NumberFile | None:
    if read_text(chip / "name") != METER_NAME:
        return None
    return open_number(chip / "power1_average") or open_number(chip / "power1_input")


def _open_inlet(chip: Path) -> NumberFile | None:
    for label in sorted(chip.glob("temp*_label")):
        if any(word in read_text(label).lower() for word in INLET_WORDS):
            return open_number(chip / label.name.replace("_label", "_input"))
    return None
