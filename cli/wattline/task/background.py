"""Saves in the background: the program waits for a copy in memory, a helper process does the rest.

The block of `saving` writes below `/dev/shm`, where it has room. `publisher` then copies the files
to the disk, hashes and publishes them, while the program computes.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .directory import is_alive, new_building, saves_in
from .environment import identity
from .manifest import CheckpointError, read_header
from .outcome import failures, log

MEMORY = Path("/dev/shm")  # noqa: S108 - every path below it is made with a random name, mode 0700
SPARE_MEMORY = 1.25
"""Free memory below `MEMORY`, as a multiple of the newest checkpoint, from which it is used."""
MIN_FREE_BYTES = 64 * 1024 * 1024
BLOCKED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""In the helper, from its first instruction on: a stop of the whole process group lets the save
end. The group is killed after its grace."""
REQUEST_FILE = "request.json"

_STAGED_NAME = re.compile(r"wattline-(\d+)\.(\d+)\.(\d+)-(\d+)-[0-9a-f]+")
_START = (
    "import importlib.util as u, sys; "
    "s = u.spec_from_file_location('wattline_task', sys.argv[1]); "
    "m = u.module_from_spec(s); sys.modules['wattline_task'] = m; s.loader.exec_module(m); "
    "from wattline_task.publisher import main; main()"
)


@dataclass(frozen=True)
class Request:
    """What the helper is to publish."""

    staged: str
    home: str
    step: int
    keep: int
    keep_every: int
    about: dict[str, Any]


class _Helper:
    """The one save that may be open."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self.request: Request | None = None
        self.pid = os.getpid()
        """A forked child has no part in the save of its parent."""
        self.is_memory_short = False


_helper = _Helper()


def new_staging(home: Path) -> Path:
    """A directory for a copy of the state: in memory if it fits, else beside the checkpoints."""
    _remove_staged()
    if _has_memory(home):
        me = identity()
        name = f"wattline-{me.job}.{me.task}.{me.attempt}-{os.getpid()}-{secrets.token_hex(8)}"
        try:
            (MEMORY / name).mkdir(mode=0o700)
        except OSError:
            return new_building(home)
        return MEMORY / name
    return new_building(home)


def _has_memory(home: Path) -> bool:
    if _helper.is_memory_short or not os.access(MEMORY, os.W_OK):
        return False
    needed_bytes = _newest_bytes(home) * SPARE_MEMORY
    return shutil.disk_usage(MEMORY).free > max(MIN_FREE_BYTES, needed_bytes)


def _newest_bytes(home: Path) -> int:
    """Of the newest checkpoint; 0 if there is none, or none whose manifest can be read."""
    for _, _, path in reversed(saves_in(home)):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return read_header(path).bytes
    return 0


def note_full(place: Path) -> None:
    """The copy did not fit: the next ones go to the disk."""
    _helper.is_memory_short |= place.parent == MEMORY


def start(request: Request, copy_s: float) -> None:
    """Publish in a helper process; returns at once. Raises CheckpointError if nothing was saved."""
    if not Path(request.staged, "data").exists():
        raise CheckpointError(f"nothing was written to {request.staged}/data")
    values = {**asdict(request), "copy_s": copy_s, "failures": failures.in_a_row}
    order = Path(request.staged, REQUEST_FILE)
    order.write_text(json.dumps(values), encoding="utf-8")
    library = Path(__file__).with_name("__init__.py")
    command = [sys.executable, "-I", "-S", "-c", _START, str(library), str(order)]
    with _helper.lock:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
        try:
            _helper.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _helper.request, _helper.pid = request, os.getpid()


def wait() -> float:
    """Wait for the open save, if any, and return its duration; 0 = there was none.

    Raises CheckpointError if it failed, except by a full disk.
    """
    with _helper.lock:
        process, request = _helper.process, _helper.request
        if process is None or request is None or _helper.pid != os.getpid():
            return 0.0
        output, _ = process.communicate()
        status = process.returncode
        _helper.process = _helper.request = None
    shutil.rmtree(request.staged, ignore_errors=True)
    return _take(request, status, output)


def _take(request: Request, status: int, output: bytes) -> float:
    try:
        outcome: dict[str, Any] = json.loads(output)
    except ValueError:
        failures.in_a_row += 1
        text = f"the helper that saved step {request.step} ended with status {status}"
        log(text)
        raise CheckpointError(text) from None
    failures.in_a_row = outcome["failures"]
    if outcome["error"] and not outcome["is_full"]:
        raise CheckpointError(f"step {request.step} was not saved: {outcome['error']}")
    save_s: float = outcome["save_s"]
    return save_s


def _remove_staged() -> None:
    """Copies of processes of this job that were killed; those of others have another number."""
    me = identity()
    for path in MEMORY.iterdir() if MEMORY.is_dir() else ():
        parts = _STAGED_NAME.fullmatch(path.name)
        if parts is None:
            continue
        job, task, _, pid = (int(part) for part in parts.groups())
        if (job, task) == (me.job, me.task) and not is_alive(pid):
            shutil.rmtree(path, ignore_errors=True)


def finish() -> None:
    """As `wait`, at the end of the program: the error, which is printed already, ends nothing."""
    with contextlib.suppress(CheckpointError):
        wait()


atexit.register(finish)
