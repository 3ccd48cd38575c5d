"""One attempt in the keeper: its life, directory, cgroup and output."""

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
"""Maximum of processes named in an exit record; a fork bomb could leave thousands."""


def boottime_s() -> float:
    """Current CLOCK_BOOTTIME: counts suspended time, comparable between processes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@functools.cache
def boot_id() -> str:
    """Boot ID of this host."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def host_oom_kills() -> int:
    """Processes that the kernel's OOM killer has killed since boot."""
    _, _, after = (tree.read_proc("/proc/vmstat") or b"").partition(b"\noom_kill ")
    return int(after.split(b"\n", 1)[0]) if after else 0


@dataclass
class Attempt:
    """One attempt and its handles."""

    life: Life
    folder: str
    """The attempt's directory, which is also its name to clients (see `tree`)."""
    group: Group | None = None
    pipe: int = -1
    """Read end of its output pipe; -1 = none."""
    status_pipe: int = -1
    """Pipe on which a child before exec reports its error; -1 = none."""
    note: str = ""
    """A remark about its start for the user."""
    failure: tuple[str, str] | None = None
    """Kind and message of why its program never ran."""
    end: ExitRecord | None = None
    """Its exit record, until that is known to be on disk."""
    resend_at_s: float = 0.0
    """When the warden is asked again to write the exit record."""

    @property
    def group_path(self) -> str:
        """Directory of its cgroup; empty = none."""
        return self.group.path if self.group is not None else ""

    @property
    def identity(self) -> tree.Identity:
        """What identifies the processes of the attempt."""
        pids = self.group.pids() if self.group is not None else frozenset()
        return tree.Identity(self.life.pid, tree.marker_of(self.folder), pids)

    def measure(self, processes: list[tree.Process]) -> None:
        """Sum the resource usage of its living processes."""
        life = self.life
        cpu_s = sum(p.cpu_ticks for p in processes) / tree.CLOCK_TICKS_PER_S
        life.cpu_s = max(life.cpu_s, cpu_s)
        rss_bytes = sum(p.rss_pages for p in processes) * tree.PAGE_BYTES
        life.max_rss_bytes = max(life.max_rss_bytes, rss_bytes)
        self.measure_group()

    def measure_group(self) -> None:
        """Read usage from the cgroup, which includes processes that have ended."""
        if self.group is not None:
            self.life.cpu_s = max(self.life.cpu_s, self.group.cpu_s())
            peak_bytes = self.group.peak_memory_bytes()
            self.life.max_rss_bytes = max(self.life.max_rss_bytes, peak_bytes)

    def describe_end(self) -> ExitRecord:
        """Exit record of the attempt."""
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
        """Release output and cgroup after the end."""
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1
        if self.group is not None and self.group.remove():
            self.group = None

    def view(self, now_s: float) -> dict[str, Any]:
        """View of the attempt for clients."""
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
            "has_lease": life.lease_until_s is not None,
        }


def never_ran(kind: str, detail: str, leftovers: Sequence[int] = ()) -> ExitRecord:
    """Exit record of an attempt whose program was never executed."""
    if leftovers:
        detail = f"{detail}; {len(leftovers)} of its processes could not be ended"
    return ExitRecord(
        kind,
        detail=detail[:MAX_DETAIL_CHARS],
        ended_unix_s=time.time(),
        leftover_pids=list(leftovers[:MAX_LEFTOVERS]),
    )


def view_of_end(key: str, end: ExitRecord) -> dict[str, Any]:
    """View of an attempt that has ended, for clients."""
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
