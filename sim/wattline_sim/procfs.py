"""Scans /proc for processes that hold simulated GPUs, cheaply enough to do it twice a second.

Environments are cached by process. They change only when a process executes another program, which
happens mostly just after its start: young processes are read again at every scan, the others in
turn.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wattline_sim.holders import Claim, HolderProcess, claim_of

_YOUNG_SCANS = 5
_RECHECK_EVERY_SCANS = 16
_ENVIRON_MAX_BYTES = 1 << 20
_CUDA_KEY = b"CUDA_VISIBLE_DEVICES="
_STOPPED_STATES = frozenset("TtZX")


@dataclass(frozen=True, slots=True)
class WatchedNode:
    """A node whose holders are looked for: its folder and the UUIDs of its GPUs, in order."""

    directory: Path
    uuids: Sequence[str]
    migs: Callable[[], Mapping[str, int]] = dict
    """GPU of each MIG device that there is now."""


@dataclass(slots=True)
class _Known:
    """What is remembered of a process: scans since it was first seen, its claim and image."""

    scans: int = 0
    start_ticks: int = 0
    claim: Claim | None = None
    image: int = 0


class ProcScanner:
    """Finds the processes that hold GPUs of the watched nodes."""

    def __init__(self, nodes: Sequence[WatchedNode], proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._nodes = [(os.fsencode(node.directory), node) for node in nodes]
        self._known: dict[int, _Known] = {}
        self._scan_number = 0

    def scan(self) -> list[HolderProcess]:
        """The holders that exist now. Processes that vanish meanwhile are left out."""
        self._scan_number += 1
        known: dict[int, _Known] = {}
        holders = []
        for name in os.listdir(self._proc):  # noqa: PTH208 - a Path for each process costs more
            if not name.isdecimal():
                continue
            pid = int(name)
            entry = known[pid] = self._known.get(pid) or _Known()
            entry.scans += 1
            is_due = (pid + self._scan_number) % _RECHECK_EVERY_SCANS == 0
            if entry.scans <= _YOUNG_SCANS or is_due:
                self._read_claim(pid, entry)
            if entry.claim is not None:
                holder = self._read_holder(pid, entry)
                if holder is not None:
                    holders.append(holder)
        self._known = known
        return holders

    def _read(self, pid: int, name: str) -> bytes:
        """A file of a process; empty when it is gone or not ours to read."""
        try:
            descriptor = os.open(f"{self._proc}/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            return os.read(descriptor, _ENVIRON_MAX_BYTES)
        except OSError:
            return b""
        finally:
            os.close(descriptor)

    def _read_claim(self, pid: int, entry: _Known) -> None:
        raw = self._read(pid, "environ")
        entry.claim = None
        if _CUDA_KEY not in raw or not any(path in raw for path, _ in self._nodes):
            return
        environment = dict(
            part.decode(errors="surrogateescape").split("=", 1)
            for part in raw.split(b"\0")
            if b"=" in part
        )
        index = self._node_seen_through(environment.get("LD_LIBRARY_PATH", ""))
        if index is not None:
            node = self._nodes[index][1]
            entry.claim = claim_of(environment, index, node.uuids, node.migs())
            entry.image = hash((raw, self._read(pid, "cmdline")))

    def _node_seen_through(self, library_path: str) -> int | None:
        """The node whose library the loader would take: the first that the path names."""
        for folder in filter(None, library_path.split(":")):
            real = os.path.realpath(os.fsencode(folder))
            for index, (path, _) in enumerate(self._nodes):
                if real == path:
                    return index
        return None

    def _read_holder(self, pid: int, entry: _Known) -> HolderProcess | None:
        raw = self._read(pid, "stat")
        # The name may hold blanks and brackets; what follows its last bracket has fixed places.
        fields = raw[raw.rfind(b")") + 2 :].split()
        if len(fields) < 20 or entry.claim is None:
            return None
        start_ticks = int(fields[19])
        if entry.start_ticks not in (0, start_ticks):  # the number was given to another process
            entry.scans, entry.start_ticks, entry.claim = 0, 0, None
            return None
        entry.start_ticks = start_ticks
        return HolderProcess(
            pid=pid,
            parent=int(fields[1]),
            session=int(fields[3]),
            start_ticks=start_ticks,
            cpu_ticks=sum(int(value) for value in fields[11:15]),
            can_run=chr(fields[0][0]) not in _STOPPED_STATES,
            image=entry.image,
            claim=entry.claim,
        )
