"""Manifest of a checkpoint: the size and digest of each of its files, one line of JSON a file.

A first line describes the checkpoint and counts the files, so that a manifest that lost its end is
found out. Formats 1 (one JSON document), 2 (SHA-256 of whole files) and 3 (SHA-256 of pieces) are
still read.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .environment import identity
from .hashing import FileEntry, Hashing, hashes, sha256_of

MANIFEST = "manifest.jsonl"
FORMAT = 4
SHA256_FORMAT = 3
WHOLE_FILES_FORMAT = 2
OLD_MANIFEST = "manifest.json"
OLD_FORMAT = 1
MAX_LINE_BYTES = 4 * 1024 * 1024
"""Of the first line with what the user adds to it, and of all of format 1."""
MAX_NAMES_SHOWN = 5
_IN_DATA = re.compile(r"data(/|\Z)")


class CheckpointError(RuntimeError):
    """A checkpoint could not be made or found; the text has the reason. None was changed."""


@dataclass(frozen=True)
class Header:
    """What a manifest says about the whole checkpoint."""

    format: int
    step: int
    saved_unix_s: float
    about: dict[str, Any]
    files: int
    bytes: int
    attempt: int = 0
    """Of the job, by which it was saved; 0 = of an earlier release, or outside Wattline."""


def seal(building: Path, step: int, about: dict[str, Any]) -> int:
    """Writes the manifest beside `data`, and syncs everything. Returns the bytes of the data."""
    names = files_of(building)
    hashing = Hashing(building, names)
    for name in names:
        sync(f"{building}/{name}")
    return write_manifest(building, step, about, hashing.entries())


def write_manifest(
    building: Path, step: int, about: dict[str, Any], entries: list[FileEntry]
) -> int:
    """Writes the manifest of synced files, and syncs it with the directories."""
    size_bytes = sum(entry.bytes for entry in entries)
    header = {"format": FORMAT, "step": step, "saved_unix_s": time.time(), "about": about}
    counted = {"files": len(entries), "bytes": size_bytes, "attempt": identity().attempt}
    first = json.dumps({**header, **counted})
    if len(first) >= MAX_LINE_BYTES:
        raise CheckpointError(f"`about` has {len(first)} bytes; at most {MAX_LINE_BYTES} are kept")
    with (building / MANIFEST).open("w", encoding="utf-8") as file:
        file.write(first + "\n")
        file.writelines(json.dumps(_line_of(entry)) + "\n" for entry in entries)
    sync(str(building / MANIFEST))
    for root, _, _ in os.walk(building):
        sync(root)
    return size_bytes


def _line_of(entry: FileEntry) -> dict[str, Any]:
    return {"name": entry.name, "bytes": entry.bytes, _key(entry.algorithm): entry.digest}


def _key(algorithm: str) -> str:
    return f"pieces_{algorithm}"


def files_of(building: Path) -> list[str]:
    """Names of all files of a checkpoint, at least one. A link would point outside of it."""
    data = building / "data"
    if data.is_symlink():
        raise CheckpointError(f"{data} is a symbolic link; save the file itself")
    if not data.exists():
        raise CheckpointError(f"nothing was written to {data}")
    names = sorted(_names(building))
    if not names:
        raise CheckpointError(f"{data} holds no file")
    return names


def _names(building: Path) -> Iterator[str]:
    """Of each file of `data`, below the checkpoint's directory. Raises for a symbolic link."""
    if not (building / "data").is_dir():
        yield "data"
        return
    folders = ["data"]
    while folders:
        folder = folders.pop()
        with os.scandir(f"{building}/{folder}") as found:
            for one in found:
                name = f"{folder}/{one.name}"
                if one.is_symlink():
                    raise CheckpointError(f"{one.path} is a symbolic link; save the file itself")
                if one.is_dir():
                    folders.append(name)
                else:
                    yield name


def check(directory: Path, step: int, *, verify: bool) -> Header:
    """Raises OSError or ValueError if the checkpoint differs from its manifest."""
    lines = _lines(directory)
    header = _header(lines)
    if header.step != step:
        raise ValueError(f"the manifest is of step {header.step}")
    listed: list[FileEntry] = []
    for line in lines:
        listed.append(_entry(line))
        _check_size(directory, listed[-1])
    if len(listed) != header.files:
        raise ValueError(f"the manifest lists {len(listed)} of {header.files} files")
    names = [entry.name for entry in listed]
    if more := sorted(set(_names(directory)).difference(names)):
        raise ValueError(f"files not listed: {', '.join(more[:MAX_NAMES_SHOWN])}")
    if verify:
        _check_digests(directory, listed, header.format)
    return header


def _entry(line: dict[str, Any]) -> FileEntry:
    for algorithm in hashes():
        if _key(algorithm) in line:
            return FileEntry(line["name"], line["bytes"], algorithm, line[_key(algorithm)])
    if "pieces_blake3" in line:
        raise ValueError("it was saved with BLAKE3; install the package blake3 here")
    return FileEntry(line["name"], line["bytes"], "sha256", line["sha256"])


def _check_size(directory: Path, entry: FileEntry) -> None:
    if not _IN_DATA.match(entry.name) or ".." in entry.name.split("/"):
        raise ValueError(f"{entry.name} is no file of this checkpoint")
    size = os.lstat(f"{directory}/{entry.name}").st_size
    if size != entry.bytes:
        raise ValueError(f"{entry.name} has {size} bytes, not {entry.bytes}")


def _check_digests(directory: Path, listed: list[FileEntry], number: int) -> None:
    if number <= WHOLE_FILES_FORMAT:
        found = {one.name: sha256_of(f"{directory}/{one.name}") for one in listed}
    else:
        found = _hashed(directory, listed)
    for entry in listed:
        if found[entry.name] != entry.digest:
            raise ValueError(f"{entry.name} does not have the checksum it was saved with")


def _hashed(directory: Path, listed: list[FileEntry]) -> dict[str, str]:
    """Digest of each file by its own algorithm: ranks of a gang may have different ones."""
    found: dict[str, str] = {}
    for algorithm in hashes():
        names = [entry.name for entry in listed if entry.algorithm == algorithm]
        entries = Hashing(directory, names, algorithm=algorithm).entries() if names else []
        found |= {entry.name: entry.digest for entry in entries}
    return found


def _header(lines: Iterator[dict[str, Any]]) -> Header:
    first = next(lines, None)
    if first is None:
        raise ValueError("the manifest is empty")
    names = ("format", "step", "saved_unix_s", "about", "files", "bytes")
    return Header(*(*(first[name] for name in names), int(first.get("attempt", 0))))


def read_header(directory: Path) -> Header:
    """What the manifest says, without a look at the files."""
    return _header(_lines(directory))


def _lines(directory: Path) -> Iterator[dict[str, Any]]:
    """The header, then each file; those of format 1 in the same form."""
    if not (directory / MANIFEST).exists() and (directory / OLD_MANIFEST).exists():
        with (directory / OLD_MANIFEST).open("rb") as file:
            old = json.loads(file.read(MAX_LINE_BYTES))
        _check_format(old, (OLD_FORMAT,))
        size_bytes = sum(entry["bytes"] for entry in old["files"])
        yield {**old, "files": len(old["files"]), "bytes": size_bytes}
        yield from old["files"]
        return
    with (directory / MANIFEST).open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b"")):
            if not line.endswith(b"\n"):
                raise ValueError("the manifest is cut off")
            values = json.loads(line.decode())  # bytes may be taken for UTF-16
            if number == 0:
                _check_format(values, (WHOLE_FILES_FORMAT, SHA256_FORMAT, FORMAT))
            yield values


def _check_format(manifest: dict[str, Any], known: tuple[int, ...]) -> None:
    if manifest["format"] not in known:
        text = f"the manifest has format {manifest['format']}"
        raise ValueError(f"{text}; {known[-1]} is the newest known here")


def sync(path: str) -> None:
    """Returns when the file or directory has reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
