"""The directory of a task's checkpoints: what appears in it, remains in it, and leaves it."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from .environment import Identity, identity
from .manifest import CheckpointError, sync

MAX_SAVE_TRIES = 100
"""Names tried when several processes save into one directory at the same time."""
FULL_BYTES = 1024 * 1024
"""With less free space than this a disk counts as full: libraries hide the kernel's error."""

_NAME = re.compile(r"(\d{8,})-step-(\d+)")
_SAVING = ".saving-"
_SAVING_NAME = re.compile(r"\.saving-(\d+)-(\d+)-(\d+)-[0-9a-f]+")
_DELETING = ".deleting-"


def checkpoint_dir() -> Path:
    """Directory of this task's checkpoints: one for all attempts of the job.

    Each index of an array has its own directory below the job's, because they share nothing.
    """
    root = Path(os.environ.get("WATTLINE_CHECKPOINT_DIR") or ".wattline/checkpoints")
    index = identity().array_index
    return root if index is None else root / f"index-{index}"


def saves_in(home: Path) -> list[tuple[int, int, Path]]:
    """(save number, step, path) of each checkpoint, oldest first."""
    if not home.is_dir():
        return []
    found = [(_NAME.fullmatch(path.name), path) for path in home.iterdir()]
    return sorted((int(m[1]), int(m[2]), path) for m, path in found if m is not None)


def new_building(home: Path) -> Path:
    """A directory beside the checkpoints, in which this process builds one."""
    home.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(home, identity())
    building = building_path(home)
    building.mkdir(mode=0o700)
    return building


def building_path(home: Path) -> Path:
    """A name for one that no other process has."""
    me = identity()
    name = f"{_SAVING}{me.task}-{me.attempt}-{os.getpid()}-{secrets.token_hex(4)}"
    return home / name


def unless_full(make: Callable[[Path], Path], home: Path) -> tuple[Path, OSError | None]:
    """Where the block of a save writes, made by `make`. On a full disk a place that does not exist,
    and the error: the block fails there, and the program continues."""
    try:
        return make(home), None
    except OSError as error:
        if not is_disk_full(error, home):
            raise
        return building_path(home), error


def publish(building: Path, home: Path, step: int) -> None:
    """Rename it to its final name, which makes the checkpoint visible."""
    saves = saves_in(home)
    first = saves[-1][0] + 1 if saves else 1
    for number in range(first, first + MAX_SAVE_TRIES):
        try:
            building.rename(home / f"{number:08d}-step-{step}")
        except OSError:
            if not any(save == number for save, _, _ in saves_in(home)):
                raise
            continue  # another process took this number at the same time
        sync(str(home))
        return
    raise CheckpointError(f"{MAX_SAVE_TRIES} names in {home} were taken while saving")


def retain(home: Path, keep: int, keep_every: int) -> None:
    """Remove all but the newest, and those of every `keep_every`-th step.

    Each is renamed first, so that a half-removed one is never seen.
    """
    for _, step, path in saves_in(home)[:-keep]:
        if keep_every and step % keep_every == 0:
            continue
        doomed = path.with_name(f"{_DELETING}{path.name}")
        try:
            path.rename(doomed)
        except FileNotFoundError:
            continue  # another process was faster
        shutil.rmtree(doomed, ignore_errors=True)


def _remove_leftovers(home: Path, me: Identity) -> None:
    """Remove the remains of a killed save or removal; never those another process works on."""
    for path in home.iterdir():
        if path.name.startswith(_DELETING):
            shutil.rmtree(path, ignore_errors=True)
        elif parts := _SAVING_NAME.fullmatch(path.name):
            task, attempt, pid = (int(part) for part in parts.groups())
            same_attempt = (task, attempt) == (me.task, me.attempt)
            if (task == me.task and attempt < me.attempt) or (same_attempt and not is_alive(pid)):
                shutil.rmtree(path, ignore_errors=True)


def is_alive(pid: int) -> bool:
    """Whether the process exists on this host."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # a name that another made up may have any number
        return False
    except PermissionError:
        return True
    return True


def is_disk_full(error: BaseException, place: Path) -> bool:
    """Whether a save into `place` failed because there was no space. Call it before tidying up."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    try:
        return isinstance(error, Exception) and shutil.disk_usage(place).free < FULL_BYTES
    except OSError:
        return False
