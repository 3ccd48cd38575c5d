"""Roll-ups on disk during an outage: a bounded MessagePack stream that survives crashes.

`spool/rollups.mpk` has consecutive records: first `{"next": N}`, the number of the first roll-up
in it, then roll-ups in order. A record that a crash truncated is dropped when the file is opened.
Numbers only increase, also across restarts, so an acknowledgement is unambiguous.
"""

import os
from collections import deque
from pathlib import Path
from typing import Any

import msgpack
import msgspec

from wattline_agent.statefile import StateUnusable, sync_directory, write_whole
from wattline_protocol.wire.agent_messages import Rollup

NAME = "rollups.mpk"
MAX_ROLLUPS = 10_080
"""A week of minutes: about 1 MiB with 8 GPUs. Beyond it the oldest tenth is dropped and counted."""
MAX_BATCH = 60
"""Roll-ups in one message."""
MAX_RECORD_BYTES = 64 * 1024
MAX_FILE_BYTES = 64 * 1024 * 1024


class RollupSpool:
    """The spool of one agent."""

    def __init__(self, directory: Path, max_rollups: int = MAX_ROLLUPS) -> None:
        """Open or create the spool. Raises StateUnusable."""
        self._path = directory / NAME
        self._max = max_rollups
        self._items: deque[Rollup] = deque()
        self._first = 1
        self.torn_bytes = 0
        """Bytes cut off at opening: a record truncated by a crash."""
        self.dropped = 0
        """Roll-ups dropped for space since this spool was opened."""
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._read()
        except OSError as error:
            raise _unusable(self._path, error) from error

    def __len__(self) -> int:
        return len(self._items)

    def append(self, rollup: Rollup) -> None:
        """Durable when this returns. Raises StateUnusable."""
        if len(self._items) >= self._max:
            too_many = max(1, self._max // 10)
            self.dropped += too_many
            self.drop(self._first + too_many - 1)
        data = b""
        if not self._path.exists():
            data = _pack({"next": self._first})
        data += _pack(msgspec.to_builtins(rollup))
        try:
            self._append_bytes(data)
        except OSError as error:
            raise _unusable(self._path, error) from error
        self._items.append(rollup)

    def oldest(self, count: int = MAX_BATCH) -> tuple[int, tuple[Rollup, ...]]:
        """The oldest roll-ups and the number of the last of them; 0 and none when empty."""
        items = tuple(self._items[at] for at in range(min(count, len(self._items))))
        return (self._first + len(items) - 1, items) if items else (0, ())

    def drop(self, last: int) -> None:
        """Drop roll-ups up to number `last`. Raises StateUnusable."""
        count = min(last - self._first + 1, len(self._items))
        if count <= 0:
            return
        for _ in range(count):
            self._items.popleft()
        self._first += count
        records = [{"next": self._first}, *(msgspec.to_builtins(item) for item in self._items)]
        write_whole(self._path, b"".join(map(_pack, records)), is_synced=True)

    def _append_bytes(self, data: bytes) -> None:
        is_new = not self._path.exists()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            before = os.fstat(descriptor).st_size
            try:
                _write_all(descriptor, data)
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, before)
                raise
        finally:
            os.close(descriptor)
        if is_new:
            sync_directory(self._path.parent)

    def _read(self) -> None:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return
        if len(data) > MAX_FILE_BYTES:
            raise StateUnusable(f"{self._path} is over {MAX_FILE_BYTES} bytes: move it away")
        good = self._take(data)
        self.torn_bytes = len(data) - good
        if self.torn_bytes:
            os.truncate(self._path, good)
        if good == 0:
            self._path.unlink()

    def _take(self, data: bytes) -> int:
        """Read the records; returns where the last complete one ends."""
        unpacker = msgpack.Unpacker(max_buffer_size=MAX_FILE_BYTES)
        unpacker.feed(data)
        good = 0
        try:
            for record in unpacker:
                if not self._take_record(record, is_first=good == 0):
                    break
                good = unpacker.tell()
        except (ValueError, msgpack.UnpackException, msgspec.ValidationError):
            pass  # the file is torn from here; the caller truncates it and counts the bytes
        return good

    def _take_record(self, record: Any, *, is_first: bool) -> bool:
        if is_first:
            is_head = isinstance(record, dict) and isinstance(record.get("next"), int)
            self._first = record["next"] if is_head else 1
            return is_head
        self._items.append(msgspec.convert(record, Rollup))
        return True


def _pack(record: object) -> bytes:
    data: bytes = msgpack.packb(record)
    if len(data) > MAX_RECORD_BYTES:
        raise ValueError(f"a spool record of {len(data)} bytes; {MAX_RECORD_BYTES} are allowed")
    return data


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _unusable(path: Path, error: OSError) -> StateUnusable:
    return StateUnusable(
        f"cannot use the spool {path}: {error.strerror}; accounting of the time without a "
        "scheduler would be lost"
    )
