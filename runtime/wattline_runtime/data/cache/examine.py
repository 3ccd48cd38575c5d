"""Examines the folder of a cache beside the process that writes it: for benchmarks and tests."""

import os
from collections.abc import Iterator
from hashlib import file_digest
from pathlib import Path

from wattline_runtime.data.manifest import Manifest, ManifestError

BLOCK_BYTES = 512
"""Unit of `st_blocks`."""


def disk_bytes(path: Path) -> int:
    """What the folder takes on disk, directories included; each file once."""
    seen: dict[tuple[int, int], int] = {}
    for folder, folders, files in os.walk(path):
        for name in ("", *folders, *files):
            try:
                found = os.lstat(os.path.join(folder, name))  # noqa: PTH118 - many files
            except FileNotFoundError:  # removed meanwhile
                continue
            seen[found.st_dev, found.st_ino] = found.st_blocks * BLOCK_BYTES
    return sum(seen.values())


def problems_of(path: Path) -> Iterator[str]:
    """What must never be seen, at whatever moment: a version without all its files, a content that
    is not what its name says."""
    for folder in (path / "objects").glob("??"):
        for file in folder.iterdir():
            if _sha256(file) != file.name:
                yield f"object {file.name} has another hash"
    for version in (path / "versions").iterdir():
        yield from _of_version(path, version)


def _of_version(path: Path, version: Path) -> Iterator[str]:
    try:
        with (path / "manifests" / version.name).open("rb") as lines:
            entries = list(Manifest(lines))
    except (OSError, ManifestError) as error:
        yield f"version {version.name} has no valid manifest: {error}"
        return
    wanted = {entry.path: entry.sha256 for entry in entries}
    there = {str(one.relative_to(version)) for one in version.rglob("*") if not one.is_dir()}
    if there != wanted.keys():
        yield f"version {version.name} has {len(there)} of {len(wanted)} files"
    for name in there & wanted.keys():
        if _sha256(version / name) != wanted[name]:
            yield f"version {version.name}: {name} has another hash"


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return file_digest(content, "sha256").hexdigest()
