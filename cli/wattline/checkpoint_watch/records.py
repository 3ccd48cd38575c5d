"""Records of complete checkpoints, beside them: what was there when each was complete.

`.wattline-checkpoints/NAME.jsonl` has a first line about the checkpoint, then one for each file. It
lies on the file system of the checkpoints, so that it is where they are: on another node, and for a
later job. The checksums follow once the files have been read; until then sizes and times count.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from wattline.task.hashing import sha256_of

from .found import MAX_FILES, MAX_STEP, Entry, Found

FOLDER = ".wattline-checkpoints"
FORMAT = 1
MAX_LINE_BYTES = 64 * 1024
NO_RECORD = (ValueError, KeyError, TypeError, RecursionError)
"""What a text that anyone may have written raises."""
UNUSABLE = (OSError, *NO_RECORD)
_SUFFIX = ".jsonl"
_MAGIC = re.compile(r"[*?[]")


def root_of(pattern: str) -> Path:
    """The directory that all matches of a pattern lie below."""
    parts = PurePosixPath(pattern).parts[:-1]
    fixed = next((at for at, part in enumerate(parts) if _MAGIC.search(part)), len(parts))
    return Path(*parts[:fixed]).absolute()


@dataclass(frozen=True)
class Record:
    """One complete checkpoint."""

    path: str
    step: int
    entries: tuple[Entry, ...]
    sums: tuple[str, ...] = ()
    """SHA-256 of each entry that is a file; empty: not read yet."""
    number: int = 0
    """Ascending in the order in which they were complete: the times of files follow clocks, which
    differ between hosts and jump."""

    @property
    def newest_ns(self) -> int:
        """When it was last written."""
        return max((entry.mtime_ns for entry in self.entries), default=0)


class Records:
    """All records of one directory of checkpoints."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / FOLDER
        self.is_new = True
        """There were none before this program."""
        self._known: dict[str, Record] = {}

    def load(self) -> None:
        """Read them, and remove those of checkpoints that are gone. Raises OSError."""
        self.is_new = not self.folder.exists()
        self.folder.mkdir(exist_ok=True)
        self._known = {}
        for file in filter(Path.is_file, self.folder.glob(f"*{_SUFFIX}")):
            try:
                record = _read(file, self.root)
            except (FileNotFoundError, PermissionError):  # removed just now, or of another account
                continue
            if record is not None and _is_there(record.path):
                self._known[record.path] = record
            else:
                file.unlink(missing_ok=True)

    def all(self) -> list[Record]:
        """The newest first."""
        known = self._known.values()
        return sorted(known, key=_in_order, reverse=True)

    def of(self, found: Found) -> Record | None:
        """The record of a checkpoint as it is now; None = there is none."""
        record = self._known.get(found.path)
        return record if record is not None and record.entries == found.entries else None

    def has(self, path: str) -> bool:
        """Whether it was complete once."""
        return path in self._known

    def put(self, record: Record) -> Record:
        """Write it at once, as the newest unless nothing was written since it was recorded: a
        program may remove parts of older ones. Raises OSError."""
        known = self._known.get(record.path)
        if known is not None and record.newest_ns <= known.newest_ns:
            number = known.number
        else:
            number = 1 + max((one.number for one in self._known.values()), default=0)
        record = replace(record, number=number)
        self.folder.mkdir(exist_ok=True)
        name = os.path.relpath(record.path, self.root)
        file = self.folder / f"{hashlib.sha256(os.fsencode(name)).hexdigest()[:32]}{_SUFFIX}"
        beside = file.with_suffix(f".{os.getpid()}")
        try:
            with beside.open("w", encoding="utf-8") as opened:
                opened.writelines(json.dumps(line) + "\n" for line in _lines(record, name))
            beside.rename(file)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
        self._known[record.path] = record
        return record


def _in_order(record: Record) -> tuple[int, int, int]:
    return record.number, record.newest_ns, record.step


def _is_there(path: str) -> bool:
    """Raises OSError where that is not known: a file system that fails has lost nothing."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _lines(record: Record, name: str) -> Iterator[dict[str, Any]]:
    count, is_hashed = len(record.entries), bool(record.sums)
    first = {"format": FORMAT, "path": name, "step": record.step, "files": count}
    yield {**first, "is_hashed": is_hashed, "number": record.number}
    for at, entry in enumerate(record.entries):
        yield {**vars(entry), **({"sha256": record.sums[at]} if is_hashed else {})}


def _read(file: Path, root: Path) -> Record | None:
    """None: it is no record, or not a whole one. Raises OSError where that is not known: a record
    that could not be read once is not lost."""
    with file.open("rb") as opened, contextlib.suppress(*NO_RECORD):
        first = json.loads(opened.readline(MAX_LINE_BYTES))
        if first["format"] != FORMAT or not 0 < first["files"] <= MAX_FILES:
            return None
        lines = [json.loads(opened.readline(MAX_LINE_BYTES)) for _ in range(first["files"])]
        sums = tuple(str(line["sha256"]) for line in lines) if first["is_hashed"] else ()
        path = os.fsdecode(os.fsencode(root / first["path"]))
        number = first.get("number", 0)
        record = Record(path, first["step"], tuple(map(_entry_of, lines)), sums, number)
        is_record = _is_number(record.step, MAX_STEP) and _is_number(number, MAX_STEP)
        return record if is_record and "\0" not in path else None
    return None


def _entry_of(line: dict[str, Any]) -> Entry:
    """Raises ValueError: records are compared with each other, so that one that is damaged must not
    reach the others."""
    entry = Entry(line["name"], line["bytes"], line["mtime_ns"], line["target"])
    is_entry = isinstance(entry.name, str) and isinstance(entry.target, str)
    if not (is_entry and _is_number(entry.bytes) and _is_number(entry.mtime_ns)):
        raise ValueError("no entry")
    return entry


def _is_number(value: object, end: int = 2**63) -> bool:
    return isinstance(value, int) and abs(value) < end


def sums_of(found: Found) -> tuple[str, ...]:
    """Reads all its files. Raises OSError."""
    return tuple(_sum_of(found.path, entry) for entry in found.entries)


def _sum_of(path: str, entry: Entry) -> str:
    if entry.target:
        return ""
    return sha256_of(f"{path}/{entry.name}" if entry.name else path)


def difference(record: Record, found: Found) -> str:
    """How a checkpoint differs from its record; empty: it is intact. Raises OSError."""
    before = {entry.name: entry for entry in record.entries}
    now = {entry.name: entry for entry in found.entries}
    for name in sorted(before.keys() ^ now.keys()):
        return f"{name} is missing" if name in before else f"{name} was added"
    for name, entry in before.items():
        label = name or os.path.basename(record.path)  # noqa: PTH119 - a text
        if (entry.bytes, entry.target) != (now[name].bytes, now[name].target):
            return f"{label} has {now[name].bytes} bytes, not {entry.bytes}"
        if not record.sums and entry.mtime_ns != now[name].mtime_ns:
            return f"{label} was written since"
    if record.sums and record.sums != sums_of(found):
        return "its files do not have the checksums that they had when it was complete"
    return ""
