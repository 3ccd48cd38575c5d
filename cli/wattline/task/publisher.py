"""The helper process of a save in the background: copies, hashes, syncs and publishes one copy."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .directory import is_disk_full, new_building, publish, retain
from .hashing import Hashing, all_threads, threads_beside_a_copy
from .manifest import files_of, sync, write_manifest
from .outcome import failures, note_failed, note_published


def main() -> None:
    """The request is a file, the last argument; the outcome goes to standard output."""
    outcome = serve(json.loads(Path(sys.argv[-1]).read_text(encoding="utf-8")))
    with contextlib.suppress(BrokenPipeError):  # the program has ended; all is done and reported
        print(json.dumps(outcome), flush=True)


def serve(request: dict[str, Any]) -> dict[str, Any]:
    """Publishes the copy, and reports it. Never raises for what the disk or the copy does."""
    begun_s = time.monotonic()
    failures.in_a_row = request["failures"]
    home, step, copy_s = Path(request["home"]), request["step"], request["copy_s"]
    building = home
    try:
        building = new_building(home)
        size_bytes = build(Path(request["staged"]), building, step, request["about"])
        publish(building, home, step)
    except Exception as error:
        is_full = is_disk_full(error, home)
        if building != home:
            shutil.rmtree(building, ignore_errors=True)
        note_failed(step, error)
        text = f"{type(error).__name__}: {error}"
        in_a_row = failures.in_a_row
        return {"error": text, "is_full": is_full, "failures": in_a_row, "save_s": 0.0}
    retain(home, request["keep"], request["keep_every"])
    save_s = time.monotonic() - begun_s + copy_s
    note_published(step, size_bytes, save_s, copy_s)
    return {"error": "", "is_full": False, "failures": 0, "save_s": save_s}


def build(
    staged: Path,
    building: Path,
    step: int,
    about: dict[str, Any],
    hashing_of: Callable[[Path, Sequence[str], int], Hashing] = Hashing,
) -> int:
    """Hashes the copy in memory while the disk takes it. Returns the bytes of the data."""
    names = files_of(staged)
    try:
        (staged / "data").rename(building / "data")  # it was on this disk already
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        hashing = hashing_of(staged, names, threads_beside_a_copy())
        for name in names:
            copy(staged / name, building / name)
    else:
        hashing = hashing_of(building, names, all_threads())
    hashing.use_threads(all_threads())
    for name in names:
        sync(f"{building}/{name}")
    return write_manifest(building, step, about, hashing.entries())


def copy(source: Path, target: Path) -> None:
    """Copies a file; it may not have reached the disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(source.stat().st_mode & 0o777)
