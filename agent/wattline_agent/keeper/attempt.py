"""One attempt in the keeper's hands: its life, its directory, its cgroup, its output."""

import functools
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattline_agent.keeper.life import SIGKILL, Life, MemoryEvidence, describe_exit
from wattline_agent.keeper.processes import tree
from wattline_agent.keeper.processes.cgroup import Group
from wattline_agent.keeper.spec import ExitRecord

MAX_DETAIL_CHARS = 2000
MAX_LEFTOVERS = 100
"""Processes named in an end; a fork bomb that hangs in the kernel could leave thousands."""


def boottime_s() -> float:
    """Now on CLOCK_BOOTTIME: counts suspended time, comparable between processes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@functools.cache
def boot_id() -> str:
    """Which boot of this host this is."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def host_oom_kills() -> int:
    """Processes that this kernel has killed for want of memory since it started."""
    _, _, after = (tree.read_proc("/proc/vmstat") or b"").partition(b"\noom_kill ")
    return int(after.split(b"\n", 1)[0]) if after else 0


@dataclass
class Held:
    """One attempt and its handles."""

    life: Life
    folder: str
    """The attempt's own directory, also its name to the outside (see `tree`)."""
    group: Group | None = None
    pipe: int = -1
    """Reading end of its output; -1 = none."""
    told: int = -1
    """Where a child on its way to the program would say what stops it; -1 = nowhere."""
    note: str = ""
    """What its user should know of its start."""
    failure: tuple[str, str] | None = None
    """Kind and words of why its program never ran."""
    end: ExitRecord | None = None
    """How it ended, while that is not known to be on disk."""
    resend_at_s: float = 0.0
    """When the warden is asked once more to write the end."""

    @property
    def group_path(self) -> str:
        """Its cgroup's directory; empty = none."""
        return self.group.path if self.group is not None else ""

    @property
    def identity(self) -> tree.Identity:
        """By what its processes are known."""
        pids = self.group.pids() if self.group is not None else frozenset()
        return tree.Identity(self.life.pid, tree.marker_of(self.folder), pids)

    def measure(self, processes: list[tree.Process]) -> None:
        """Add up what its living processes have used."""
        life = self.life
        cpu_s = sum(p.cpu_ticks for p in processes) / tree.CLOCK_TICKS_PER_S
        life.cpu_s = max(life.cpu_s, cpu_s)
        rss_bytes = sum(p.rss_pages for p in processes) * tree.PAGE_BYTES
        life.max_rss_bytes = max(life.max_rss_bytes, rss_bytes)
        self.measure_group()

    def measure_group(self) -> None:
        """What the cgroup has accounted, processes that are gone included."""
        if self.group is not None:
            self.life.cpu_s = max(self.life.cpu_s, self.group.cpu_s())
            peak_bytes = self.group.peak_memory_bytes()
            self.life.max_rss_bytes = max(self.life.max_rss_bytes, peak_bytes)

    def describe_end(self) -> ExitRecord:
        """How it ended."""
        life = self.life
        if self.failure is not None:
            return never_ran(*self.failure, life.leftovers)
        self.measure_group()
        evidence = MemoryEvidence(
            in_group=self.group is not None and self.group.out_of_memory_kills() > 0,
            on_host=life.status == SIGKILL and life.oom_kills_before < host_oom_kills(),
        )
        kind, code, number, detail = describe_exit(life, evidence)
        if life.leftovers:
            detail += f"; {len(life.leftovers)} of its processes could not be ended"
        return ExitRecord(
            kind,
            code,
            number,
            detail,
            ended_unix_s=time.time(),
            started_unix_s=life.started_unix_s,
            run_s=life.run_s(boottime_s()),
            cpu_s=life.cpu_s,
            max_rss_bytes=life.max_rss_bytes,
            leftover_pids=life.leftovers[:MAX_LEFTOVERS],
            note=self.note,
        )

    def release(self) -> None:
        """Give up output and cgroup after the end."""
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1
        if self.group is not None and self.group.remove():
            self.group = None

    def view(self, now_s: float) -> dict[str, Any]:
        """What clients are told."""
        life = self.life
        has_run = not life.is_starting
        return {
            "key": life.spec.key,
            "phase": life.phase,
            "pid": life.pid if has_run else None,
            "started_unix_s": life.started_unix_s if has_run else None,
            "run_s": life.run_s(now_s) if has_run else 0.0,
            "cpu_s": life.cpu_s,
            "max_rss_bytes": life.max_rss_bytes,
            "exit": None,
            "note": self.note,
        }


def never_ran(kind: str, detail: str, leftovers: Sequence[int] = ()) -> ExitRecord:
    """The end of an attempt whose program was never executed."""
    if leftovers:
        detail = f"{detail}; {len(leftovers)} of its processes could not be ended"
    return ExitRecord(
        kind,
        detail=detail[:MAX_DETAIL_CHARS],
        ended_unix_s=time.time(),
        leftover_pids=list(leftovers[:MAX_LEFTOVERS]),
    )


def view_of_end(key: str, end: ExitRecord) -> dict[str, Any]:
    """What clients are told of an attempt that has ended."""
    return {
        "key": key,
        "phase": "ended",
        "pid": None,
        "started_unix_s": end.started_unix_s,
        "run_s": end.run_s,
        "cpu_s": end.cpu_s,
        "max_rss_bytes": end.max_rss_bytes,
        "exit": end.to_json(),
        "note": end.note,
    }
