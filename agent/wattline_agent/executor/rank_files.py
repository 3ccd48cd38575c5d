"""Files that the supervisors of ranks leave in an attempt's directory (`wattline.rank`).

The directory may belong to the account of the task, so nothing in it is trusted: no link, no file
of another owner or another file system is opened, and what is read is bounded.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated

import msgspec

from wattline.rank import FAILURE_FILE, HEADER_BYTES, MAX_ERROR_CHARS, log_name, place_name
from wattline_agent.executor.open_as_owner import PLACE, is_same_mount
from wattline_agent.keeper.logfile import READ_TRIES, LogPiece, NoLog
from wattline_protocol.job.rank_reports import RankPlace
from wattline_protocol.text.tracebacks import error_of
from wattline_protocol.wire.bounds import CONTROL, MAX_SERIAL, MAX_SOME
from wattline_protocol.wire.task_order import RankFailure

MAX_FAILURE_BYTES = 128 * 1024
"""Of a record with the end of a rank's output, each byte of which JSON may write as six."""
MAX_PLACE_BYTES = 8 * 1024
"""Of the record of one rank's place."""
MAX_PLACES_BYTES = 64 * 1024
"""Of the places of all ranks in the report of an attempt; the rest are left out."""
UNUSABLE = (OSError, msgspec.MsgspecError, ValueError, RecursionError)
"""What a file that tasks may write raises: a million brackets, among others."""


def read_failure(task_dir: str) -> RankFailure | None:
    """The first failure of the attempt's ranks; None = none, or no valid record."""
    with _files_of(task_dir) as opened, suppress(*UNUSABLE):
        data = os.pread(opened(FAILURE_FILE), MAX_FAILURE_BYTES, 0)
        found = msgspec.json.decode(data, type=_Failure)
        error = error_of(found.text) or found.error
        return RankFailure(found.rank, found.unix_s, CONTROL.sub(" ", error)[:MAX_ERROR_CHARS])
    return None


class _Failure(RankFailure, frozen=True):
    """As the supervisor of the rank leaves it."""

    text: Annotated[str, msgspec.Meta(max_length=MAX_FAILURE_BYTES)] = ""
    """The end of its output, or the traceback that torch recorded."""


def read_places(task_dir: str, rank_count: int) -> tuple[RankPlace, ...]:
    """Where the attempt's ranks were when their stacks were last written."""
    found, left = list[RankPlace](), MAX_PLACES_BYTES
    for local_rank in range(min(rank_count, MAX_SOME)):
        with _files_of(task_dir) as opened, suppress(*UNUSABLE):
            data = os.pread(opened(place_name(local_rank)), MAX_PLACE_BYTES, 0)
            place = msgspec.json.decode(data, type=RankPlace)
            text = CONTROL.sub(" ", place.place)[:MAX_ERROR_CHARS]
            left -= len(text.encode())
            if left < 0:
                break
            found.append(msgspec.structs.replace(place, place=text))
    return tuple(found)


def read_rank_log(task_dir: str, local_rank: int, offset: int, limit_bytes: int) -> LogPiece:
    """As `keeper.logfile.read_piece`, from the copy of one rank's output. Raises NoLog."""
    name = log_name(local_rank)
    for _ in range(READ_TRIES):
        with _files_of(task_dir) as opened:
            try:
                current = _part(opened(name))
            except (OSError, ValueError):
                raise NoLog(f"rank {local_rank} of this task has written no log") from None
            older = None
            with suppress(OSError, ValueError):
                older = _part(opened(f"{name}.1"))
            if older is None or older[1] + older[2] == current[1]:
                return _piece([older, current] if older else [current], offset, limit_bytes)
    raise NoLog(f"the log of rank {local_rank} is written faster than it can be read")


_Part = tuple[int, int, int]
"""Descriptor, offset of its first byte in the whole output, bytes."""


def _part(file: int) -> _Part:
    """Raises ValueError where the header is not one, or no message carries the offsets."""
    start, count = int(os.pread(file, HEADER_BYTES, 0)), os.fstat(file).st_size - HEADER_BYTES
    if not 0 <= start <= MAX_SERIAL - count:
        raise ValueError(f"{start} is no offset")
    return file, start, max(0, count)


def _piece(parts: list[_Part], offset: int, limit_bytes: int) -> LogPiece:
    end = parts[-1][1] + parts[-1][2]
    start = min(max(offset if offset >= 0 else end + offset, parts[0][1]), end)
    data = b""
    for file, first, count in parts:
        at = start + len(data) - first
        if 0 <= at < count:
            wanted = min(limit_bytes - len(data), count - at)
            data += os.pread(file, wanted, HEADER_BYTES + at)
    return LogPiece(data, start, end, lost=0)


@contextmanager
def _files_of(task_dir: str) -> Iterator["_Opener"]:
    opener = _Opener(task_dir)
    try:
        yield opener
    finally:
        opener.close()


class _Opener:
    """Opens regular files of the directory's owner in it, and closes them all."""

    def __init__(self, task_dir: str) -> None:
        self._task_dir, self._folder = task_dir, -1
        self._open: list[int] = []

    def __call__(self, name: str) -> int:
        """A descriptor to read. Raises OSError."""
        if self._folder < 0:
            self._folder = os.open(self._task_dir, PLACE)
        place = os.open(name, PLACE, dir_fd=self._folder)
        try:
            found, owner = os.fstat(place), os.fstat(self._folder).st_uid
            is_plain = stat.S_ISREG(found.st_mode) and found.st_uid == owner
            if not is_plain or not is_same_mount(place, self._folder):
                raise PermissionError(f"{name} is no file of the task")
            file = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        finally:
            os.close(place)
        self._open.append(file)
        return file

    def close(self) -> None:
        """Close all files."""
        for file in (*self._open, *([self._folder] if self._folder >= 0 else [])):
            os.close(file)
