"""What a keeper finds of its predecessor: attempts without an end on disk are ended for good."""

import time
from pathlib import Path

from wattline_agent.keeper import tree
from wattline_agent.keeper.cgroup import Group
from wattline_agent.keeper.ends import read_ends
from wattline_agent.keeper.records import read_record, write_record
from wattline_agent.keeper.spec import (
    ENDS_FILE,
    EXIT_FILE,
    STARTED_FILE,
    TASKS_DIR,
    BadRequest,
    ExitRecord,
    check_key,
)
from wattline_agent.keeper.warden import LAST_KILL_S, kill_all


def orphaned(tasks_dir: Path) -> dict[Path, dict[str, object]]:
    """Directories of attempts that a keeper has started and that have no (whole) end on disk."""
    found: dict[Path, dict[str, object]] = {}
    if not tasks_dir.is_dir():
        return found
    for folder in sorted(tasks_dir.iterdir()):
        try:
            check_key(folder.name)
        except BadRequest:
            continue
        started = read_record(folder / STARTED_FILE)
        if not isinstance(started, dict):
            continue
        if ExitRecord.from_json(read_record(folder / EXIT_FILE)) is None:
            found[folder] = started
    return found


def settle(state_dir: Path, boot: str) -> list[str]:
    """End what a dead keeper has left: kill its processes, then write `keeper_lost`; the keys."""
    tasks_dir = state_dir / TASKS_DIR
    _restore(tasks_dir, state_dir / ENDS_FILE)
    lost = orphaned(tasks_dir)
    if not lost:
        return []
    here = {folder: started for folder, started in lost.items() if started.get("boot_id") == boot}
    identities = {str(f): _identity(f, started) for f, started in here.items()}
    groups = [Group(Path(str(s["cgroup"]))) for s in here.values() if s.get("cgroup")]
    left = kill_all(identities, groups, time.monotonic() + LAST_KILL_S)
    for folder, started in lost.items():
        _write_lost(folder, started, sorted(left) if folder in here else [], folder in here)
    return [folder.name for folder in lost]


def _restore(tasks_dir: Path, journal: Path) -> None:
    """Ends that were on disk when they were told, but whose own files a power cut has taken."""
    for key, end in read_ends(journal):
        file = tasks_dir / check_key(key) / EXIT_FILE
        if file.parent.is_dir() and ExitRecord.from_json(read_record(file)) is None:
            write_record(file, end)


def _identity(folder: Path, started: dict[str, object]) -> tree.Identity:
    """Marker and cgroup always tell; the session only while its number was not used again."""
    root = _whole(started.get("pid"))
    now = tree.start_ticks(root) if root else 0
    is_reused = now != 0 and now != started.get("start_ticks")
    return tree.Identity(0 if is_reused else root, tree.marker_of(str(folder)))


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _write_lost(folder: Path, started: dict[str, object], left: list[int], same_boot: bool) -> None:
    why = "the keeper died and its tasks with it" if same_boot else "the host was restarted"
    begun = started.get("started_unix_s")
    record = ExitRecord(
        "keeper_lost",
        detail=why,
        ended_unix_s=time.time(),
        started_unix_s=begun if isinstance(begun, float) else None,
        leftover_pids=left,
    )
    write_record(folder / EXIT_FILE, record.to_json())
