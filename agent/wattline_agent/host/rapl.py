"""Processor and memory power from the RAPL energy counters (Intel, and AMD under the same names).

Top-level zones named `package-N` and sub-zones named `dram` are added up; `core`, `uncore` and
`psys` would count the same energy twice. Counters wrap at a range that each zone declares. Since
Linux 5.10 only root may read them: no permission means not available.
"""

from dataclasses import dataclass
from pathlib import Path

from wattline_agent.host.numberfile import NumberFile, open_number, read_text

MAX_INTERVAL_S = 60.0
"""Over a longer time a counter may have wrapped twice; then the power is unknown."""
MAX_ZONES = 64


@dataclass
class Zone:
    """One counter and its last value, in microjoules."""

    energy: NumberFile
    range_uj: int
    last_uj: int | None = None

    def advance_uj(self) -> int | None:
        """Energy since the last call; None at the first one or when there is no value."""
        now_uj, last_uj = self.energy.read(), self.last_uj
        self.last_uj = now_uj
        if now_uj is None or last_uj is None:
            return None
        return used_uj(last_uj, now_uj, self.range_uj)


def used_uj(last_uj: int, now_uj: int, range_uj: int) -> int:
    """Energy between two values of a counter that wraps at most once."""
    return now_uj - last_uj if now_uj >= last_uj else now_uj - last_uj + range_uj + 1


class RaplMeter:
    """All zones of the host that count."""

    def __init__(self, sysfs_root: Path) -> None:
        folder = sysfs_root / "class" / "powercap"
        names = sorted(folder.glob("intel-rapl:*"))[:MAX_ZONES] if folder.is_dir() else []
        self._zones = [zone for zone in map(_open_zone, names) if zone is not None]
        self._last_s: float | None = None

    def read_mw(self, now_s: float) -> int | None:
        """Mean power since the last call, `now_s` on a monotonic clock; None when unknown."""
        used = [zone.advance_uj() for zone in self._zones]
        seconds = 0.0 if self._last_s is None else now_s - self._last_s
        self._last_s = now_s
        known = [uj for uj in used if uj is not None]
        if not used or len(known) < len(used) or not 0.0 < seconds <= MAX_INTERVAL_S:
            return None
        return round(sum(known) / seconds / 1000)

    def close(self) -> None:
        """Release the files."""
        for zone in self._zones:
            zone.energy.close()


def _open_zone(folder: Path) -> Zone | None:
    name = read_text(folder / "name")
    if not (name.startswith("package") or name == "dram"):
        return None
    range_text = read_text(folder / "max_energy_range_uj")
    energy = open_number(folder / "energy_uj")
    if energy is None or not range_text.isdigit():
        return None
    return Zone(energy, int(range_text))
