"""How busy the host's disks and network interfaces are, from the kernel's counters."""

from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from wattline_protocol.wire.agents.host_load import LinkLoad

NOT_A_DISK = ("loop", "ram", "zram", "sr")
BYTES_PER_MBIT = 1e6 / 8
UNREADABLE = (OSError, RuntimeError, NotImplementedError, ValueError)
"""What psutil raises: in containers without /proc/diskstats, of lines that it does not know, and
where the driver of a network interface fails."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Cumulative counters at one time."""

    mono_s: float
    disk_busy_ms: Mapping[str, int]
    link_bytes: Mapping[str, tuple[int, int]]
    """Sent and received."""


@dataclass(frozen=True, slots=True)
class Busy:
    """Shares of the time or speed, 0..1, and the load of a link; None = not measured."""

    disk: float | None = None
    network: float | None = None
    link: LinkLoad | None = None
    """The link that carries most; one whose speed is known comes first."""


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
    return Busy(_share(disks), _share(links), _busiest(before, after, seconds, speeds_mbit))


def _busiest(
    before: Counters, after: Counters, seconds: float, speeds_mbit: Mapping[str, int]
) -> LinkLoad | None:
    """By the bytes of its busier direction; of idle ones that which has carried most."""
    grown = {
        name: _grown(before.link_bytes[name], after.link_bytes[name])
        for name in after.link_bytes.keys() & before.link_bytes.keys()
    }
    if not grown:
        return None

    def rank(name: str) -> tuple[bool, int, int, str]:
        in_all = sum(after.link_bytes[name])
        return speeds_mbit.get(name, 0) > 0, max(grown[name]), in_all, name

    name = max(grown, key=rank)
    sent, received = (max(0, count) / seconds for count in grown[name])
    mbit = speeds_mbit.get(name, 0)
    return LinkLoad(name, received, sent, mbit * BYTES_PER_MBIT if mbit > 0 else None)


def _grown(before: tuple[int, int], after: tuple[int, int]) -> tuple[int, int]:
    return after[0] - before[0], after[1] - before[1]


def _more(before: tuple[int, int], after: tuple[int, int]) -> int:
    """In the busier direction: links are full duplex."""
    return max(_grown(before, after))


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
        return busy_between(before, now, _speeds())


def _disks() -> dict[str, int]:
    try:
        found = psutil.disk_io_counters(perdisk=True) or {}
    except UNREADABLE:
        return {}
    return {name: disk.busy_time for name, disk in found.items() if hasattr(disk, "busy_time")}


def _links() -> dict[str, tuple[int, int]]:
    try:
        found = psutil.net_io_counters(pernic=True)
    except UNREADABLE:
        return {}
    found.pop("lo", None)
    return {name: (link.bytes_sent, link.bytes_recv) for name, link in found.items()}


def _speeds() -> dict[str, int]:
    """Megabits a second, by interface."""
    try:
        return {name: stats.speed for name, stats in psutil.net_if_stats().items()}
    except UNREADABLE:
        return {}
