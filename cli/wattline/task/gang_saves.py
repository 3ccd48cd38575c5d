"""Saves of a gang: each rank writes its own files, and the first publishes when all have.

Ranks meet in the directory of the checkpoints, which all nodes of a gang share. Each seals its
files in a directory of its own and leaves a marker. The first moves the files of all into one
checkpoint, publishes it, and leaves the outcome. Markers carry attempt, round and step, so that
those of another attempt or another save never count. Times are durations on the monotonic clock.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import background as helper
from .directory import checkpoint_dir, is_disk_full, new_building, publish, retain, unless_full
from .due import clock
from .environment import identity
from .hashing import FileEntry, Hashing
from .manifest import CheckpointError, files_of, sync, write_manifest
from .outcome import log, note_failed, note_published, public_text

GANG_TIMEOUT_S = 600.0
ANSWER_S = 60.0
"""Longer than the first waits for the ranks, a rank waits for the first."""
POLL_S = 0.05
MAX_NAMED = 8

_MARKER = re.compile(r"\.gang-(\d+)-(\d+)-(\d+)\.(?:rank-(\d+)|twice|outcome)")


@dataclass(frozen=True)
class Meeting:
    """One save of one attempt, by the number of saves before it in each process of the gang."""

    home: Path
    attempt: int
    round: int
    step: int

    def path(self, name: str) -> Path:
        """Of a marker."""
        return self.home / f".gang-{self.attempt}-{self.round}-{self.step}.{name}"


@dataclass(frozen=True)
class Arrival:
    """What a rank leaves for the first."""

    building: str
    files: tuple[FileEntry, ...]
    error: str = ""
    is_full: bool = False


class _Rounds:
    """Saves of this gang that this process has begun: the same number on each rank."""

    def __init__(self) -> None:
        self.begun = 0


_rounds = _Rounds()


def rank_of_gang() -> tuple[int, int]:
    """Rank of this process and number of ranks, as torchrun sets them; alone, (0, 1)."""
    return int(os.environ.get("RANK") or 0), int(os.environ.get("WORLD_SIZE") or 1)


@contextlib.contextmanager
def gang_saving(
    step: int,
    *,
    keep: int = 3,
    keep_every: int = 0,
    about: dict[str, Any] | None = None,
    directory: Path | str | None = None,
    timeout_s: float = GANG_TIMEOUT_S,
) -> Iterator[Path]:
    """Provides each rank with a directory; together they become one checkpoint.

    Every rank of the gang calls it for the same steps, and writes files under names that no other
    rank uses. The first publishes when all have written; it gives up after `timeout_s`, and names
    the ranks that are missing. Then, and when a rank fails, nothing is published, and every rank
    raises CheckpointError. A full disk raises nothing, as in `saving`.
    """
    if step < 0 or keep < 1 or keep_every < 0:
        raise ValueError(
            f"step is {step}, keep {keep}, keep_every {keep_every}; at least 0, 1 and 0 are valid"
        )
    clock.longest_s = max(clock.longest_s, helper.wait())
    rank, ranks = rank_of_gang()
    home = Path(directory) if directory is not None else checkpoint_dir()
    begun_s = time.monotonic()
    _rounds.begun += 1
    meeting = Meeting(home, identity().attempt, _rounds.begun, step)
    building, full = unless_full(_new_data, home)
    try:
        try:
            yield building / "data"
            if full is not None:
                raise full
            arrival = _sealed(building)
        except Exception as error:
            arrival = _failed(building, full or error)
            shutil.rmtree(building / "data", ignore_errors=True)  # the marker needs room as well
        try:
            _arrive(meeting, rank, arrival)
            if rank:
                outcome = _answer(meeting, timeout_s + ANSWER_S)
            else:
                outcome = _lead(meeting, building, ranks, about or {}, begun_s + timeout_s)
                shutil.rmtree(building, ignore_errors=True)
                _leave(meeting.path("outcome"), outcome)
        except OSError as error:
            if not is_disk_full(error, home):
                raise
            outcome = {"error": public_text(error), "is_full": True}
    finally:
        shutil.rmtree(building, ignore_errors=True)
    ended_s = time.monotonic()
    clock.saved(begun_s, ended_s)
    _conclude(outcome, step, rank, ended_s - begun_s)
    if rank == 0 and not outcome["error"]:
        retain(home, keep, keep_every)


def _conclude(outcome: dict[str, Any], step: int, rank: int, save_s: float) -> None:
    error = CheckpointError(f"step {step} was not saved: {outcome['error']}")
    if not outcome["error"]:
        if rank == 0:
            note_published(step, outcome["bytes"], save_s, copy_s=save_s)
        return
    if rank == 0:
        note_failed(step, error)
    if not outcome["is_full"]:
        raise error


def _new_data(home: Path) -> Path:
    building = new_building(home)
    (building / "data").mkdir()
    return building


def _sealed(building: Path) -> Arrival:
    """The files of this rank, synced."""
    names = files_of(building)
    hashing = Hashing(building, names)
    for name in names:
        sync(f"{building}/{name}")
    return Arrival(building.name, tuple(hashing.entries()))


def _failed(building: Path, error: BaseException) -> Arrival:
    log(f"this rank could not save: {type(error).__name__}: {error}")
    return Arrival(building.name, (), public_text(error), is_disk_full(error, building))


def _arrive(meeting: Meeting, rank: int, arrival: Arrival) -> None:
    """Leave the marker of this rank. Raises CheckpointError if another process has done so."""
    if not _leave(meeting.path(f"rank-{rank}"), asdict(arrival)):
        _leave(meeting.path("twice"), {"rank": rank})
        raise CheckpointError(f"another process saves step {meeting.step} as rank {rank}")


def _leave(path: Path, values: dict[str, Any]) -> bool:
    """Creates a file, complete from the moment it is seen; False if it exists."""
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    beside.write_text(json.dumps(values), encoding="utf-8")
    try:
        os.link(beside, path)
    except FileExistsError:
        return False
    finally:
        beside.unlink()
    return True


def _answer(meeting: Meeting, timeout_s: float) -> dict[str, Any]:
    """The outcome that the first leaves."""
    until_s = time.monotonic() + timeout_s
    path = meeting.path("outcome")
    while time.monotonic() < until_s:
        with contextlib.suppress(FileNotFoundError):
            outcome: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return outcome
        time.sleep(POLL_S)
    late = CheckpointError(f"the first rank did not answer in {timeout_s:.0f} s")
    return {"error": str(late), "is_full": is_disk_full(late, meeting.home)}


def _lead(
    meeting: Meeting, building: Path, ranks: int, about: dict[str, Any], until_s: float
) -> dict[str, Any]:
    """Publishes what all ranks have written, or says why not."""
    try:
        arrivals = _gather(meeting, ranks, until_s)
        _forget_earlier(meeting)
        failed = [(rank, one) for rank, one in arrivals.items() if one.error]
        if failed:
            text = "; ".join(f"rank {rank}: {one.error}" for rank, one in failed[:MAX_NAMED])
            return {"error": text, "is_full": all(one.is_full for _, one in failed)}
        entries = _merge(meeting.home, building, arrivals)
        size_bytes = write_manifest(building, meeting.step, about, entries)
        publish(building, meeting.home, meeting.step)
    except Exception as error:
        return {"error": str(error), "is_full": is_disk_full(error, meeting.home)}
    return {"error": "", "is_full": False, "bytes": size_bytes}


def _gather(meeting: Meeting, ranks: int, until_s: float) -> dict[int, Arrival]:
    """Waits for the markers of all ranks."""
    arrivals: dict[int, Arrival] = {}
    while True:
        for rank in set(range(ranks)) - set(arrivals):
            with contextlib.suppress(FileNotFoundError):
                arrivals[rank] = _read(meeting.path(f"rank-{rank}"), rank)
        if meeting.path("twice").exists():
            raise CheckpointError("two processes save as the same rank")
        if len(arrivals) == ranks or any(one.error for one in arrivals.values()):
            return arrivals
        if time.monotonic() >= until_s:
            missing = sorted(set(range(ranks)) - set(arrivals))
            named = ", ".join(map(str, missing[:MAX_NAMED]))
            raise CheckpointError(f"of {ranks} ranks {len(missing)} did not arrive: {named}")
        time.sleep(POLL_S)


def _read(path: Path, rank: int) -> Arrival:
    values = json.loads(path.read_text(encoding="utf-8"))
    try:
        return Arrival(**{**values, "files": tuple(FileEntry(**one) for one in values["files"])})
    except TypeError:
        text = f"rank {rank} saves in another format; its agent should have the release of ours"
        raise CheckpointError(text) from None


def _merge(home: Path, building: Path, arrivals: dict[int, Arrival]) -> list[FileEntry]:
    """Moves the files of the other ranks into the directory of the first."""
    owners: dict[str, int] = {}
    for rank, arrival in sorted(arrivals.items()):
        for entry in arrival.files:
            other = owners.setdefault(entry.name, rank)
            if other != rank:
                raise CheckpointError(f"ranks {other} and {rank} both wrote {entry.name}")
            if rank:
                target = building / entry.name
                target.parent.mkdir(parents=True, exist_ok=True)
                (home / arrival.building / entry.name).rename(target)
    return [entry for _, arrival in sorted(arrivals.items()) for entry in arrival.files]


def _forget_earlier(meeting: Meeting) -> None:
    """Markers of earlier saves: all ranks have left those when they arrive at this one."""
    for path in meeting.home.iterdir():
        parts = _MARKER.match(path.name)
        if parts is not None and (int(parts[1]), int(parts[2])) < (meeting.attempt, meeting.round):
            path.unlink(missing_ok=True)
