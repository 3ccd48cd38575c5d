"""Recovery after a dead keeper: attempts without an exit record on disk are ended for good."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wattline_agent.keeper.journal import Journal, read_journal
from wattline_agent.keeper.processes import tree
from wattline_agent.keeper.processes.cgroup import Group
from wattline_agent.keeper.spec import ENDS_FILE, STARTS_FILE, TASKS_DIR, ExitRecord
from wattline_agent.keeper.warden import LAST_KILL_S, kill_all

NOTED: dict[str, Any] = {
    "boot_id": str,
    "pid": int,
    "start_ticks": int,
    "started_unix_s": int | float,
    "cgroup": str,
}
"""Of a start: see `Starter`."""


def settle(state_dir: Path, boot: str, log: Callable[[str], None]) -> dict[str, ExitRecord]:
    """End what a dead keeper has left: kill its processes, then write `keeper_lost`. Returns all
    exit records that the agent has not dropped yet, by key. Raises OSError."""
    ended = _ends(state_dir / ENDS_FILE)
    started = _notes(state_dir / STARTS_FILE, boot)
    lost = {key: note for key, note in started.items() if key not in ended}
    if not lost:
        return ended
    here = {key: note for key, note in lost.items() if note.get("boot_id") == boot}
    identities = {key: _identity(state_dir / TASKS_DIR / key, note) for key, note in here.items()}
    groups = [Group(note["cgroup"]) for note in here.values() if note.get("cgroup")]
    left = sorted(kill_all(identities, groups, time.monotonic() + LAST_KILL_S))
    for key, note in lost.items():
        log(f"{key} was lost with the previous keeper")
        ended[key] = _lost(note, left if key in here else [], key in here)
    ends = Journal(state_dir / ENDS_FILE, is_synced=True)
    ends.put([(key, json.dumps(ended[key].to_json()).encode()) for key in lost])
    ends.close()
    return ended


def _notes(journal: Path, boot: str) -> dict[str, dict[str, Any]]:
    """What the dead keeper noted of each start. Where the disk has lost that, the attempt may be of
    this boot, and its marker alone identifies its processes."""
    nothing = {**dict.fromkeys(NOTED), "boot_id": boot, "pid": 0}
    return {key: note if _is_note(note) else nothing for key, note in read_journal(journal).items()}


def _is_note(note: object) -> bool:
    return isinstance(note, dict) and all(
        isinstance(note.get(name), kind) for name, kind in NOTED.items()
    )


def _ends(journal: Path) -> dict[str, ExitRecord]:
    found = {key: ExitRecord.from_json(end) for key, end in read_journal(journal).items()}
    return {key: end for key, end in found.items() if end is not None}


def _identity(folder: Path, note: dict[str, Any]) -> tree.Identity:
    """Marker and cgroup always identify it; the session only while its number is not reused."""
    root: int = note["pid"]
    now = tree.start_ticks(root) if root else 0
    is_reused = now != 0 and now != note["start_ticks"]
    return tree.Identity(0 if is_reused else root, tree.marker_of(str(folder)))


def _lost(note: dict[str, Any], left: list[int], is_same_boot: bool) -> ExitRecord:
    why = "the keeper died and its tasks with it" if is_same_boot else "the host was restarted"
    return ExitRecord(
        "keeper_lost",
        detail=why,
        ended_unix_s=time.time(),
        started_unix_s=note["started_unix_s"],
        leftover_pids=left,
    )
