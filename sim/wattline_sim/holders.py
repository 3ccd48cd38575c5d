"""Which processes hold which simulated GPUs, and whether they make progress. Pure.

A process that would see a node's GPUs through its environment holds those that
``CUDA_VISIBLE_DEVICES`` names. It loads them fully while it makes progress: CPU time used in the
last 1.5 s, not stopped, not frozen, not dead. How much CPU it gets does not matter, so that a
small machine can still heat many simulated GPUs.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from wattline_sim.profiles import DEFAULT_PROFILE, LOAD_PROFILES, LoadProfile

PROGRESS_WINDOW_S = 1.5
# 2 % of a core: more than a server that polls for work uses, less than any starved computation.
PROGRESS_MIN_TICKS = 3
_LAUNCHER_TICKS = 20  # CPU that a child must have used before its parent counts as a launcher
_HISTORY_MAX = 16


@dataclass(frozen=True, slots=True)
class Claim:
    """What a process's environment says: GPUs ``devices`` of node number ``node``."""

    node: int
    devices: tuple[int, ...]
    profile: LoadProfile
    mig: str = ""
    """UUID of the MIG device of the one GPU; empty = it sees whole GPUs."""


@dataclass(frozen=True, slots=True)
class HolderProcess:
    """One process with a claim, as seen in one scan. ``image`` tells what it runs: a child with
    its parent's image was forked, not executed. Ticks are hundredths of a second of CPU."""

    pid: int
    parent: int
    session: int
    start_ticks: int
    cpu_ticks: int
    can_run: bool
    image: int
    claim: Claim


@dataclass(frozen=True, slots=True)
class Hold:
    """How one GPU is held: by whom, and under which load if they make progress."""

    profile: LoadProfile
    is_active: bool
    pids: tuple[int, ...]  # busiest first
    working: frozenset[int] = frozenset()  # of those, which make progress
    migs: Mapping[int, str] = field(default_factory=dict)
    """MIG device of each of them that has one."""


def claimed_devices(value: str, uuids: Sequence[str]) -> tuple[int, ...]:
    """The GPUs that a ``CUDA_VISIBLE_DEVICES`` value names, by index or by UUID prefix.

    As the CUDA runtime does, everything after the first entry that names no GPU is ignored.
    """
    devices: list[int] = []
    for entry in value.split(","):
        index = _device(entry.strip(), uuids)
        if index is None or index in devices:
            break
        devices.append(index)
    return tuple(devices)


def _device(entry: str, uuids: Sequence[str]) -> int | None:
    if entry.isdecimal():
        return int(entry) if int(entry) < len(uuids) else None
    if not entry.startswith("GPU-"):
        return None
    found = [index for index, uuid in enumerate(uuids) if uuid.startswith(entry)]
    return found[0] if len(found) == 1 else None


_NO_MIGS: Mapping[str, int] = {}


def claim_of(
    environment: dict[str, str],
    node: int,
    uuids: Sequence[str],
    migs: Mapping[str, int] = _NO_MIGS,
) -> Claim | None:
    """The claim of a process of that node with that environment; None if it holds no GPU.

    A torchrun worker (LOCAL_RANK set) among several devices holds the one of its rank, unless it
    is alone on its node: then it drives all of them. An unknown profile name counts as the default,
    so that a typing error never makes a GPU look idle. `migs`: the GPU of each MIG device; as with
    the CUDA runtime a process sees one of them, the first that is named.
    """
    named = environment.get("WATTLINE_SIM_PROFILE", DEFAULT_PROFILE)
    profile = LOAD_PROFILES.get(named, LOAD_PROFILES[DEFAULT_PROFILE])
    visible = environment.get("CUDA_VISIBLE_DEVICES", "")
    mig = visible.split(",")[0].strip()
    if mig in migs:
        return Claim(node, (migs[mig],), profile, mig)
    devices = claimed_devices(visible, uuids)
    if not devices:
        return None
    rank = environment.get("LOCAL_RANK", "")
    is_alone = environment.get("LOCAL_WORLD_SIZE", "") == "1"
    if rank.isdecimal() and int(rank) < len(devices) and not is_alone:
        devices = (devices[int(rank)],)
    return Claim(node, devices, profile)


@dataclass(slots=True)
class _Past:
    """The CPU ticks of one process over the last scans, oldest first."""

    readings: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_HISTORY_MAX))

    def progress(self, process: HolderProcess, now_s: float) -> int:
        """Ticks used since the newest reading that is at least a window old (or the first)."""
        self.readings.append((now_s, process.cpu_ticks))
        while len(self.readings) > 1 and self.readings[1][0] <= now_s - PROGRESS_WINDOW_S:
            self.readings.popleft()
        return process.cpu_ticks - self.readings[0][1]


class HolderTable:
    """Turns scans into holds; remembers CPU readings between them."""

    def __init__(self) -> None:
        self._pasts: dict[tuple[int, int], _Past] = {}
        self._has_scanned = False

    def update(
        self, processes: Sequence[HolderProcess], now_s: float
    ) -> dict[tuple[int, int], Hold]:
        """The holds by (node, GPU) after this scan; GPUs that nobody holds are left out."""
        progress = self._progress(processes, now_s)
        groups: dict[tuple[int, Claim], int] = {}
        for process in processes:
            key = (process.session, process.claim)
            groups[key] = groups.get(key, 0) + progress[process.pid]
        active = {key for key, ticks in groups.items() if ticks >= PROGRESS_MIN_TICKS}
        by_gpu: dict[tuple[int, int], list[HolderProcess]] = {}
        for process in processes:
            for device in process.claim.devices:
                by_gpu.setdefault((process.claim.node, device), []).append(process)
        return {gpu: _hold(holders, active, progress) for gpu, holders in by_gpu.items()}

    def _progress(self, processes: Iterable[HolderProcess], now_s: float) -> dict[int, int]:
        """Ticks gained in the window by each process that can run; others gain nothing."""
        pasts: dict[tuple[int, int], _Past] = {}
        gained: dict[int, int] = {}
        for process in processes:
            key = (process.pid, process.start_ticks)
            past = self._pasts.get(key)
            if past is None:
                past = _Past()
                if self._has_scanned:  # it started since the last scan: all its CPU is new
                    past.readings.append((now_s, 0))
            pasts[key] = past
            ticks = past.progress(process, now_s)
            gained[process.pid] = ticks if process.can_run else 0
        self._pasts, self._has_scanned = pasts, True
        return gained


def _hold(
    holders: list[HolderProcess],
    active: set[tuple[int, Claim]],
    progress: dict[int, int],
) -> Hold:
    running = [h for h in holders if (h.session, h.claim) in active]
    # Two jobs on one GPU: it shows the heavier load.
    profile = max((h.claim.profile for h in running or holders), key=lambda p: p.mean)
    listed = sorted(
        _compute_processes(holders),
        key=lambda h: (progress[h.pid], h.cpu_ticks, h.pid),
        reverse=True,
    )
    working = {h.pid for h in listed if (h.session, h.claim) in active}
    migs = {h.pid: h.claim.mig for h in listed if h.claim.mig}
    return Hold(profile, bool(running), tuple(h.pid for h in listed), frozenset(working), migs)


def _compute_processes(holders: list[HolderProcess]) -> list[HolderProcess]:
    """Those that a driver would show: no launchers (an executed child does the work) and no
    forked helpers of another holder."""
    by_pid = {holder.pid: holder for holder in holders}
    launchers = {
        holder.parent
        for holder in holders
        if holder.parent in by_pid
        and holder.image != by_pid[holder.parent].image
        and holder.cpu_ticks >= _LAUNCHER_TICKS
    }
    chosen = [
        holder
        for holder in holders
        if holder.pid not in launchers
        and (holder.parent not in by_pid or by_pid[holder.parent].image != holder.image)
    ]
    return chosen or holders
