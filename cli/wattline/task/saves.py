"""Saving checkpoints and finding them again: all or nothing, by one rename."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import background as helper
from .directory import (
    checkpoint_dir,
    is_disk_full,
    new_building,
    publish,
    retain,
    saves_in,
    unless_full,
)
from .due import clock
from .manifest import CheckpointError, check, seal
from .outcome import note_failed, note_published, note_rejected
from .stored import with_stored

DAMAGED = (OSError, ValueError, KeyError, TypeError, RecursionError, CheckpointError)
"""What a checkpoint that has changed raises, with a manifest that anyone may have written."""
DEFAULT_KEEP = 3
"""Checkpoints retained when `keep` is not given."""


@dataclass(frozen=True)
class Checkpoint:
    """One intact checkpoint; `path` is the saved file or directory."""

    step: int
    path: Path
    about: dict[str, Any]
    saved_unix_s: float


@dataclass(frozen=True)
class Rejected:
    """A checkpoint that cannot be trusted, and why."""

    step: int
    directory: Path
    reason: str


def save(
    step: int,
    data: bytes | Callable[[Path], object],
    *,
    keep: int = DEFAULT_KEEP,
    keep_every: int = 0,
    about: dict[str, Any] | None = None,
    directory: Path | str | None = None,
) -> Checkpoint | None:
    """Save bytes, or whatever the callable writes to the path it is given. See `saving`.

    Returns None when the disk is full: nothing was saved, and the program continues.
    """
    home = Path(directory) if directory is not None else checkpoint_dir()
    before = saves_in(home)[-1:]
    with saving(step, keep=keep, keep_every=keep_every, about=about, directory=home) as path:
        if isinstance(data, bytes):
            path.write_bytes(data)
        else:
            data(path)
    return latest(home, verify=False) if saves_in(home)[-1:] != before else None


@contextlib.contextmanager
def saving(
    step: int,
    *,
    keep: int = DEFAULT_KEEP,
    keep_every: int = 0,
    about: dict[str, Any] | None = None,
    directory: Path | str | None = None,
    background: bool = False,
) -> Iterator[Path]:
    """Provides a path for a file or a directory; it becomes a checkpoint at the end of the block.

    If the block raises, nothing is saved. Afterwards only the `keep` newest checkpoints remain, and
    with `keep_every` those of each step that it divides. `about` is any JSON value, returned by
    `latest`. Only one process of a gang saves; see `gang_saving`. Raises CheckpointError when
    nothing was written, OSError when the disk fails. A full disk raises nothing: it is printed and
    reported, and the program continues with its older checkpoints.

    `background=True`: the path is in memory where there is room, and a helper process copies it to
    the disk after the block. One save is open at most: the next one waits for it, and so do
    `safe_point` and the end of the program. Its error is printed, and raised by the next `saving`.
    """
    if step < 0 or keep < 1 or keep_every < 0:
        raise ValueError(
            f"step is {step}, keep {keep}, keep_every {keep_every}; at least 0, 1 and 0 are valid"
        )
    wait_saved()
    home = Path(directory) if directory is not None else checkpoint_dir()
    begun_s = time.monotonic()
    place, full = unless_full(helper.new_staging if background else new_building, home)
    try:
        yield place / "data"
        if full is not None:
            raise full
        if background:
            request = helper.Request(str(place), str(home), step, keep, keep_every, about or {})
            helper.start(request, copy_s=time.monotonic() - begun_s)
            clock.saved(begun_s, time.monotonic())
            return
        size_bytes = seal(place, step, about or {})
        publish(place, home, step)
    except BaseException as error:
        is_full = is_disk_full(error, place) or (full is not None and isinstance(error, Exception))
        if is_full:
            helper.note_full(place)
        shutil.rmtree(place, ignore_errors=True)
        if not is_full:
            raise
        note_failed(step, full or error)
        clock.saved(begun_s, time.monotonic())  # the next try is due as after a save
        return
    retain(home, keep, keep_every)
    ended_s = time.monotonic()
    clock.saved(begun_s, ended_s)
    note_published(step, size_bytes, ended_s - begun_s, copy_s=ended_s - begun_s)


def wait_saved() -> None:
    """Wait for the save in the background, if one is open. Raises CheckpointError if it failed."""
    clock.longest_s = max(clock.longest_s, helper.wait())


def latest(
    directory: Path | str | None = None,
    *,
    verify: bool = True,
    fits: Callable[[Checkpoint], str] | None = None,
    from_scratch: bool | None = None,
    on_reject: Callable[[Rejected], object] | None = None,
) -> Checkpoint | None:
    """The newest intact checkpoint that fits; None if none was ever saved. Without a `directory`
    that of the store is among them, where the job keeps its checkpoints there.

    Those passed over are printed, reported, and given to `on_reject`. `fits` returns why a
    checkpoint cannot be used, "" if it can: another model, another shape. If there are checkpoints
    and none can be used, CheckpointError has the reason of each: training never starts again from
    step 0 by accident. `from_scratch=True` or WATTLINE_FROM_SCRATCH=1 permits it. `verify=False`
    trusts the files' sizes and reads none of them.
    """
    wait_saved()
    rejected = []
    for found in checkpoints(directory, verify=verify):
        why = found.reason if isinstance(found, Rejected) else fits(found) if fits else ""
        if isinstance(found, Checkpoint) and not why:
            return found
        place = found.path.parent if isinstance(found, Checkpoint) else found.directory
        rejected.append(Rejected(found.step, place, why))
        note_rejected(found.step, why)
        if on_reject is not None:
            on_reject(rejected[-1])
    if from_scratch is None:
        from_scratch = os.environ.get("WATTLINE_FROM_SCRATCH", "") == "1"
    if rejected and not from_scratch:
        home = Path(directory) if directory is not None else checkpoint_dir()
        raise CheckpointError(_none_usable(home, rejected))
    return None


def _none_usable(home: Path, rejected: list[Rejected]) -> str:
    reasons = "; ".join(f"step {one.step}: {one.reason}" for one in rejected)
    return (
        f"no checkpoint in {home} can be used ({reasons}). "
        "wattline requeue --from-scratch, or latest(from_scratch=True), starts from step 0"
    )


def checkpoints(
    directory: Path | str | None = None, *, verify: bool = True
) -> Iterator[Checkpoint | Rejected]:
    """Every checkpoint, newest first, intact or not; each is checked when its turn comes."""
    home = Path(directory) if directory is not None else checkpoint_dir()
    here = [(step, path) for _, step, path in reversed(saves_in(home))]
    for step, path in here if directory is not None else with_stored(here):
        try:
            header = check(path, step, verify=verify)
        except DAMAGED as error:
            yield Rejected(step, path, f"{type(error).__name__}: {error}")
        else:
            yield Checkpoint(step, path / "data", header.about, header.saved_unix_s)
