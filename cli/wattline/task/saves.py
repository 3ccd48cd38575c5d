"""Checkpoints of a task in one directory: all or nothing, by one rename."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .due import clock
from .environment import Identity, identity
from .metrics import report

DEFAULT_KEEP = 3
"""Checkpoints retained when `keep` is not given."""
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_SAVE_TRIES = 100
"""Names tried when several processes save into one directory at the same time."""
READ_BYTES = 1024 * 1024

_NAME = re.compile(r"(\d{8,})-step-(\d+)")
_SAVING = ".saving-"
_SAVING_NAME = re.compile(r"\.saving-(\d+)-(\d+)-(\d+)-[0-9a-f]+")
_DELETING = ".deleting-"


class CheckpointError(RuntimeError):
    """A checkpoint could not be made; the text has the reason. Older checkpoints are unchanged."""


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


def checkpoint_dir() -> Path:
    """Directory of this task's checkpoints: one for all attempts of the job.

    Each index of an array has its own directory below the job's, because they share nothing.
    """
    root = Path(os.environ.get("WATTLINE_CHECKPOINT_DIR") or ".wattline/checkpoints")
    index = identity().array_index
    return root if index is None else root / f"index-{index}"


def save(
    step: int,
    data: bytes | Callable[[Path], object],
    *,
    keep: int = DEFAULT_KEEP,
    about: dict[str, Any] | None = None,
    directory: Path | str | None = None,
) -> Checkpoint:
    """Save bytes, or whatever the callable writes to the path it is given. See `saving`."""
    with saving(step, keep=keep, about=about, directory=directory) as path:
        if isinstance(data, bytes):
            path.write_bytes(data)
        else:
            data(path)
    found = latest(directory, verify=False)
    if found is None:
        raise CheckpointError(f"the checkpoint of step {step} was removed as soon as it was made")
    return found


@contextlib.contextmanager
def saving(
    step: int,
    *,
    keep: int = DEFAULT_KEEP,
    about: dict[str, Any] | None = None,
    directory: Path | str | None = None,
) -> Iterator[Path]:
    """Provides a path for a file or a directory; it becomes a checkpoint at the end of the block.

    If the block raises, nothing is saved. Afterwards only the `keep` newest checkpoints remain.
    `about` is any JSON value, returned by `latest`. Only one process of a gang saves. Raises
    CheckpointError when nothing was written, OSError when the disk fails.
    """
    if step < 0 or keep < 1:
        raise ValueError(f"step is {step} and keep {keep}; step must be >= 0 and keep >= 1")
    home = Path(directory) if directory is not None else checkpoint_dir()
    home.mkdir(parents=True, exist_ok=True)
    me = identity()
    _remove_leftovers(home, me)
    name = f"{_SAVING}{me.task}-{me.attempt}-{os.getpid()}-{secrets.token_hex(4)}"
    building = home / name
    building.mkdir(mode=0o700)
    begun_s = time.monotonic()
    try:
        yield building / "data"
        size_bytes = _seal(building, step, about or {})
        _publish(building, home, step)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    _retain(home, keep)
    ended_s = time.monotonic()
    clock.saved(begun_s, ended_s)
    save_s = round(ended_s - begun_s, 3)
    report("checkpoint", step=step, bytes=size_bytes, save_s=save_s, copy_s=save_s)


def latest(
    directory: Path | str | None = None,
    *,
    verify: bool = True,
    on_reject: Callable[[Rejected], object] | None = None,
) -> Checkpoint | None:
    """The newest intact checkpoint, or None. Those skipped are passed to `on_reject`.

    `verify=False` trusts the files' sizes and reads none of them.
    """
    for found in checkpoints(directory, verify=verify):
        if isinstance(found, Checkpoint):
            return found
        if on_reject is not None:
            on_reject(found)
    return None


def checkpoints(
    directory: Path | str | None = None, *, verify: bool = True
) -> Iterator[Checkpoint | Rejected]:
    """Every checkpoint, newest first, intact or not; each is checked when its turn comes."""
    home = Path(directory) if directory is not None else checkpoint_dir()
    for _, step, path in reversed(_saves(home)):
        try:
            yield _check(path, step, verify)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            yield Rejected(step, path, f"{type(error).__name__}: {error}")


def _saves(home: Path) -> list[tuple[int, int, Path]]:
    """(save number, step, path) of each checkpoint, oldest first."""
    if not home.is_dir():
        return []
    found = [(_NAME.fullmatch(path.name), path) for path in home.iterdir()]
    return sorted((int(m[1]), int(m[2]), path) for m, path in found if m is not None)


def _seal(building: Path, step: int, about: dict[str, Any]) -> int:
    """Write the manifest beside the data, and sync everything. Returns the bytes of the data."""
    data = building / "data"
    if not data.exists():
        raise CheckpointError(f"nothing was written to {data}")
    files: list[dict[str, Any]] = []
    for path in _files_below(data):
        _sync(path)
        name = path.relative_to(building).as_posix()
        files.append({"name": name, "bytes": path.stat().st_size, "sha256": _sha256(path)})
    if not files:
        raise CheckpointError(f"{data} holds no file")
    manifest = {"format": 1, "step": step, "saved_unix_s": time.time(), "about": about}
    text = json.dumps({**manifest, "files": files})
    if len(text) > MAX_MANIFEST_BYTES:
        raise CheckpointError(f"{len(files)} files are too many for one checkpoint; pack them")
    (building / "manifest.json").write_text(text, encoding="utf-8")
    _sync(building / "manifest.json")
    for root, _, _ in os.walk(building):
        _sync(Path(root))
    return sum(file["bytes"] for file in files)


def _files_below(data: Path) -> list[Path]:
    """All files of a checkpoint. A link would point to something outside the checkpoint."""
    paths = [data] if not data.is_dir() else sorted(data.rglob("*"))
    for path in [data, *paths]:
        if path.is_symlink():
            raise CheckpointError(f"{path} is a symbolic link; save the file itself")
    return [path for path in paths if not path.is_dir()]


def _publish(building: Path, home: Path, step: int) -> None:
    """Rename it to its final name, which makes the checkpoint visible."""
    saves = _saves(home)
    first = saves[-1][0] + 1 if saves else 1
    for number in range(first, first + MAX_SAVE_TRIES):
        try:
            building.rename(home / f"{number:08d}-step-{step}")
        except OSError:
            if not any(save == number for save, _, _ in _saves(home)):
                raise
            continue  # another process took this number at the same time
        _sync(home)
        return
    raise CheckpointError(f"{MAX_SAVE_TRIES} names in {home} were taken while saving")


def _check(path: Path, step: int, verify: bool) -> Checkpoint:
    """The checkpoint in `path`. Raises OSError or ValueError if it differs from its manifest."""
    with (path / "manifest.json").open("rb") as file:
        text = file.read(MAX_MANIFEST_BYTES + 1)
    manifest = json.loads(text)
    if manifest["format"] != 1 or manifest["step"] != step:
        raise ValueError("the manifest is of another format or step")
    listed = {entry["name"] for entry in manifest["files"]}
    present = {p.relative_to(path).as_posix() for p in _files_below(path / "data")}
    if listed != present:
        raise ValueError(f"files missing or not listed: {', '.join(sorted(listed ^ present))}")
    for entry in manifest["files"]:
        file_path = path / entry["name"]
        size = file_path.stat().st_size
        if size != entry["bytes"]:
            raise ValueError(f"{entry['name']} has {size} bytes, not {entry['bytes']}")
        if verify and _sha256(file_path) != entry["sha256"]:
            raise ValueError(f"{entry['name']} does not have the checksum it was saved with")
    return Checkpoint(step, path / "data", manifest["about"], manifest["saved_unix_s"])


def _retain(home: Path, keep: int) -> None:
    """Remove all but the newest; renamed first, so that a half-removed one is never seen."""
    for _, _, path in _saves(home)[:-keep]:
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
            if (task == me.task and attempt < me.attempt) or (same_attempt and not _is_alive(pid)):
                shutil.rmtree(path, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
