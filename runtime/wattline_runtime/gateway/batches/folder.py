"""The folder of a batch. All functions wait for the disk: they run in threads, beside the loop.

What is written is synced before it counts. A process that runs a batch, or receives one, holds the
lock of its folder, which the kernel releases with the process.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from wattline_runtime.disk import sync_folder, write_all
from wattline_runtime.gateway.batches.records import Batch, Progress
from wattline_runtime.gateway.batches.rows import MAX_LINE_BYTES, Position, whole_prefix

ID = re.compile(r"batch_[0-9a-f]{32}")
NEW = ".new-"
OLD = ".old-"
CHUNK_BYTES = 256 * 1024
MAX_RECORD_BYTES = 64 * 1024
MAX_RESULT_BYTES = 8 * MAX_LINE_BYTES
"""A longer line is none of ours."""
T = TypeVar("T", Batch, Progress)


class Lock:
    """Of a folder, from its construction until `release`, or the end of the process."""

    def __init__(self, folder: Path) -> None:
        """Raises BlockingIOError while another one has it, and FileNotFoundError."""
        self._file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise

    def release(self) -> None:
        """Let others acquire it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def write_record(folder: Path, name: str, record: msgspec.Struct, *, is_synced: bool) -> None:
    """Replace a record in one step."""
    new = folder / f"{name}.new"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(descriptor, msgspec.json.encode(record))
        if is_synced:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.replace(folder / name)
    if is_synced:
        sync_folder(folder)


def read_record(folder: Path, name: str, kind: type[T]) -> T:
    """A record. Raises OSError, and ValueError where it is damaged."""
    with (folder / name).open("rb") as file:
        data = file.read(MAX_RECORD_BYTES)
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"{folder / name}: {error}") from error


def read_progress(folder: Path) -> Progress:
    """How far a batch is, as last published; none of it is known: from its start."""
    try:
        return read_record(folder, "state.json", Progress)
    except (FileNotFoundError, ValueError):
        return Progress()


def request_cancel(folder: Path) -> None:
    """Have whatever runs the batch end it. Raises FileNotFoundError."""
    descriptor = os.open(folder / "cancel", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.close(descriptor)
    sync_folder(folder)


def is_cancelled(folder: Path) -> bool:
    """Whether its cancellation was requested."""
    return (folder / "cancel").exists()


def remove(folder: Path) -> None:
    """Delete it; for others it vanishes in one step."""
    old = folder.with_name(OLD + folder.name.removeprefix(OLD).removeprefix(NEW))
    with suppress(FileNotFoundError):
        if folder != old:
            folder.rename(old)
        shutil.rmtree(old)


class Upload:
    """A batch that is being received, in a folder of its own that no other process reads."""

    def __init__(self, root: Path, batch_id: str) -> None:
        """Begin to receive a batch."""
        self.id = batch_id
        self._root = root
        self._folder = root / (NEW + batch_id)
        self._folder.mkdir(mode=0o700)
        self._lock = Lock(self._folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._input = os.fdopen(os.open(self._folder / "input.jsonl", flags, 0o600), "wb")

    def write(self, data: bytes) -> None:
        """Append rows."""
        self._input.write(data)

    def accept(self, batch: Batch) -> Path:
        """Make it a batch; it is durable once this returns."""
        self._input.flush()
        os.fsync(self._input.fileno())
        write_record(self._folder, "batch.json", batch, is_synced=True)
        folder = self._root / self.id
        self._folder.rename(folder)
        self._folder = folder
        sync_folder(self._root)
        self._close()
        return folder

    def discard(self) -> None:
        """Delete it."""
        self._close()
        remove(self._folder)

    def _close(self) -> None:
        with suppress(OSError):  # what a full disk did not take is not missed
            self._input.close()
        self._lock.release()


class Input:
    """The rows of a batch, from one on."""

    def __init__(self, folder: Path, skip: int) -> None:
        self._file: BinaryIO = (folder / "input.jsonl").open("rb")
        try:
            for _ in range(skip):
                self._file.readline()
        except BaseException:
            self._file.close()
            raise

    def read(self, most: int, most_bytes: int) -> list[bytes]:
        """The next rows, at least one unless there is none."""
        rows: list[bytes] = []
        size_bytes = 0
        while len(rows) < most and size_bytes < most_bytes and (line := self._file.readline()):
            rows.append(line.rstrip(b"\r\n"))
            size_bytes += len(line)
        return rows

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Output:
    """The results of a batch that this process runs."""

    def __init__(self, folder: Path, total: int) -> None:
        """Cuts what a crash has left behind the last whole result."""
        self.folder = folder
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(folder / "output.jsonl", flags, 0o600)
        self._is_torn = False
        """The file has bytes behind the position."""
        try:
            self.position = self._begin(total)
        except BaseException:
            self.close()
            raise

    def _begin(self, total: int) -> Position:
        with os.fdopen(os.dup(self._file), "rb") as read:
            read.seek(0)
            position = whole_prefix(_lines(read), total)
        os.ftruncate(self._file, position.size_bytes)
        os.fsync(self._file)
        return position

    def append(self, lines: list[bytes], failed: int) -> None:
        """Append results; they are on disk once this returns, and none of them if it raises
        OSError."""
        data = b"".join(line + b"\n" for line in lines)
        before = self.position
        if self._is_torn:
            os.ftruncate(self._file, before.size_bytes)
        self._is_torn = True
        write_all(self._file, data)
        os.fdatasync(self._file)
        self._is_torn = False
        self.position = Position(
            before.rows + len(lines), before.failed + failed, before.size_bytes + len(data)
        )

    def publish(self, progress: Progress) -> None:
        """Show how far it is; durable where it has ended, or will."""
        is_synced = not progress.is_open or progress.end is not None
        write_record(self.folder, "state.json", progress, is_synced=is_synced)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class Opened:
    """A batch whose lock this process has, as a crash has left it."""

    def __init__(self, folder: Path, total: int) -> None:
        """Raises BlockingIOError while another process has it, and OSError."""
        with ExitStack() as opened:
            self.lock = Lock(folder)
            opened.callback(self.lock.release)
            self.output = Output(folder, total)
            opened.callback(self.output.close)
            position, before = self.output.position, read_progress(folder)
            self.input = Input(folder, position.rows)
            opened.pop_all()  # all of it is there
        self.progress = Progress(
            rows=position.rows,
            failed=position.failed,
            output_bytes=position.size_bytes,
            end=before.end,
            reason=before.reason,
        )
        self.is_over = not before.is_open
        """Another process has just ended it."""

    def close(self) -> None:
        """Let others have it."""
        self.input.close()
        self.output.close()
        self.lock.release()


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(MAX_RESULT_BYTES):
        yield line


class Results:
    """Reads the results of a batch, from one on, as far as they are on record."""

    def __init__(self, folder: Path, skip: int) -> None:
        """Raises FileNotFoundError before the first result."""
        self.folder = folder
        self._file: BinaryIO = (folder / "output.jsonl").open("rb")
        self._skip = skip

    def read(self, until_bytes: int) -> bytes:
        """The next results before a position; nothing where there is none."""
        while self._skip and self._file.tell() < until_bytes:
            self._file.readline()
            self._skip -= 1
        return self._file.read(max(0, min(CHUNK_BYTES, until_bytes - self._file.tell())))

    def close(self) -> None:
        """Close the file."""
        self._file.close()
