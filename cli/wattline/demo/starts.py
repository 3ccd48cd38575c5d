"""Reads the tasks' own records of their starts (see `recorded`)."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

MAX_RECORD_BYTES = 16 * 1024 * 1024


class StartNote(msgspec.Struct, frozen=True):
    """One line of the record."""

    what: Literal["start", "end"]
    job: int
    task: int
    attempt: int
    rank: int
    """Local rank of a torchrun worker: an attempt of a task may have several processes."""
    pid: int
    mono_s: float


def read_starts(path: Path) -> list[StartNote]:
    """The notes in `path`, in the order they were written; none if there is no such file."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        data = file.read(MAX_RECORD_BYTES)
    return [msgspec.json.decode(line, type=StartNote) for line in data.splitlines()]


def double_runs(notes: Iterable[StartNote]) -> list[str]:
    """Each case of a task running twice, as text: the same attempt again, or two at once."""
    by_process: dict[tuple[int, int, int], list[StartNote]] = defaultdict(list)
    for entry in notes:
        by_process[entry.job, entry.task, entry.rank].append(entry)
    found: list[str] = []
    for (job, task, _), entries in by_process.items():
        started: set[int] = set()
        running: set[tuple[int, int]] = set()
        for entry in sorted(entries, key=lambda e: e.mono_s):
            run = (entry.attempt, entry.pid)
            if entry.what == "end":
                running.discard(run)
                continue
            if entry.attempt in started:
                found.append(f"task {job}.{task} attempt {entry.attempt} was started twice")
            elif running:
                found.append(
                    f"task {job}.{task} attempt {entry.attempt} began while attempt "
                    f"{min(running)[0]} had not ended"
                )
            started.add(entry.attempt)
            running.add(run)
    return found
