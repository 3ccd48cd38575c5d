"""The process that reads files with columns, and what it could not read."""

import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterable
from typing import BinaryIO

import msgspec

from wattline_runtime.data.columns.summary import Summary, with_file, without_file
from wattline_runtime.data.columns.summary_file import (
    MAX_SUMMARY_BYTES,
    BadSummary,
    decode_summary,
)

COMMAND = (sys.executable, "-m", "wattline_runtime.data.columns")
_PASSED = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TMPDIR", "TZ")
"""Keys of stores, which lie in others, are nothing for a process that reads hostile files."""
_SET = {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"}
"""Arrow's own pool reserves more than the limit of memory before it is used."""
MAX_MEMORY_BYTES = 2 * 1024 * 1024 * 1024


class FileToRead(msgspec.Struct, frozen=True):
    """A file of a data set: its path there, and where it lies on this machine."""

    path: str
    at: str

    def open(self) -> BinaryIO:
        """For reading. Raises OSError, also for what has taken its place and is no file: a pipe
        would block for ever."""
        descriptor = os.open(self.at, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "it is no file any more")
        return os.fdopen(descriptor, "rb")


def read_summary(files: Iterable[FileToRead]) -> Summary:
    """Of all files; one that ends its process is named, and the next goes to a new process."""
    summary = Summary()
    process: _Process | None = None
    try:
        for file in files:
            process = process or _Process()
            try:
                found = process.ask(file)
            except UnicodeEncodeError:
                summary = without_file(summary, file.path, "its path is not UTF-8")
                continue
            if isinstance(found, str):
                summary, process = without_file(summary, file.path, found), None
                continue
            for path, why in found.unreadable.items():
                summary = without_file(summary, path, why)
            if found.tables:
                summary = with_file(summary, file.path, found.tables)
    finally:
        if process is not None:
            process.end()
    return summary


class _Process:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={name: os.environ[name] for name in _PASSED if name in os.environ} | _SET,
        )

    def ask(self, file: FileToRead) -> Summary | str:
        """The summary of one file; the reason where the process has ended."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the process has no pipes")
        try:
            stdin.write(msgspec.json.encode(file) + b"\n")
            stdin.flush()
            line = stdout.readline(MAX_SUMMARY_BYTES)
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):
            return self._death()
        try:
            return decode_summary(line)
        except BadSummary as error:
            self.end()
            return f"its reader gave no summary: {error}"

    def end(self) -> None:
        """No file is left, or none is wanted any more."""
        self._process.communicate()  # it ends with its stdin

    def _death(self) -> str:
        self.end()
        status = self._process.returncode
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        return f"its reader ended with {how}; it may use {MAX_MEMORY_BYTES >> 30} GiB of memory"
