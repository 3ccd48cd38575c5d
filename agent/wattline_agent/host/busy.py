"""How busy the host's disks and network interfaces are, from the kernel's counters."""

from collections.abc import Mapping
from dataclasses import dataclass

import psutil

NOT_A_DISK = ("loop", "ram", "zram", "sr")
BYTES_PER_MBIT = 1e6 / 8


@dataclass(frozen=True, slots=True)
class Counters:
    """Cumulative counters at one time."""

    mono_s: float
    disk_busy_ms: Mapping[str, int]
    link_bytes: Mapping[str, tuple[int, int]]
    """Sent and received."""


@dataclass(frozen=True, slots=True)
class Busy:
    """Share of the time, 0..1; None = not measured."""

    disk: float | None = None
    network: float | None = None


def busy_between(before: Counters, after: Counters, speeds_mbit: Mapping[str, int]) -> Busy:
    """The busiest disk, and the busiest link in its busier direction, as a share of its speed. A
    link of unknown speed (virtual, down) is not judged."""
    seconds = after.mono_s - before.mono_s
    if seconds <= 0:
        return Busy()
    disks = [
        (after.disk_busy_ms[name] - before.disk_busy_ms[name]) / (seconds * 1000)
        for name in after.disk_busy_ms.keys() & before.disk_busy_ms.keys()
        if not name.startswith(NOT_A_DISK)
    ]
    links = [
        _more(before.link_bytes[name], after.link_bytes[name])
        / (seconds * speeds_mbit[name] * BYTES_PER_MBIT)
        for name in after.link_bytes.keys() & before.link_bytes.keys()
        if speeds_mbit.get(name, 0) > 0
    ]
    return Busy(_share(disks), _share(links))


def _more(before: tuple[int, int], after: tuple[int, int]) -> int:
    """In the busier direction: links are full duplex."""
    return max(now - then for now, then in zip(after, before, strict=True))


def _share(values: list[float]) -> float | None:
    """Counters that were reset count as 0."""
    return min(1.0, max(0.0, *values)) if values else None


class BusyMeter:
    """Shares since the last reading."""

    def __init__(self) -> None:
        self._last: Counters | None = None

    def read(self, mono_s: float) -> Busy:
        """None of a kind whose counters this host does not show."""
        now = Counters(mono_s, _disks(), _links())
        before, self._last = self._last, now
        if before is None:
            return Busy()
        speeds = {name: stats.speed for name, stats in psutil.net_if_stats().items()}
        return busy_between(before, now, speeds)


def _disks() -> dict[str, int]:
    try:
        found = psutil.disk_io_counters(perdisk=True) or {}
    except (OSError, RuntimeError, NotImplementedError):  # as in containers without /proc/diskstats
        return {}
    return {name: disk.busy_time for name, disk in found.items() if hasattr(disk, "busy_time")}


def _links() -> dict[str, tuple[int, int]]:
    try:
        found = psutil.net_io_counters(pernic=True)
    except (OSError, RuntimeError):
        return {}
    found.pop("lo", None)
    return {name: (link.bytes_sent, link.bytes_recv) for name, link in found.items()}
