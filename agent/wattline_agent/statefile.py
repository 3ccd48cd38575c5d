"""State files of the agent: replaced atomically, synced where promises depend on them.

`agent.state` and `usage.state` are JSON, so that an operator can read them. `agent.lock` locks out
a second agent. A file that cannot be parsed stops the agent: guessing would drop a fence.
"""

import fcntl
import os
from pathlib import Path
from typing import IO, TypeVar

import msgspec

from wattline_agent.core.durable import AgentState, UsageState

STATE_NAME = "agent.state"
USAGE_NAME = "usage.state"
LOCK_NAME = "agent.lock"
MAX_STATE_BYTES = 4 * 1024 * 1024

S = TypeVar("S", bound=msgspec.Struct)


class StateUnusable(Exception):
    """The state directory cannot be read or written; the text names file, reason and remedy."""


class StateInUse(StateUnusable):
    """Another agent has locked the directory."""


class StateDir:
    """The files of one agent; locked until closed."""

    def __init__(self, directory: Path) -> None:
        """Create the directory if needed, and lock it. Raises StateUnusable."""
        self.path = directory
        self._lock: IO[bytes] | None = None
        try:
            # Tasks of other accounts can reach their own directories below it, but list nothing.
            directory.mkdir(mode=0o711, parents=True, exist_ok=True)
            self._lock = (directory / LOCK_NAME).open("ab")
            os.fchmod(self._lock.fileno(), 0o600)  # any account that can open it can lock it
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise StateInUse(
                f"another agent uses {directory}: stop it, or give this one its own --state-dir"
            ) from None
        except OSError as error:
            self.close()
            raise _unusable("use", directory, error) from error

    def load_state(self) -> AgentState | None:
        """None when there is none yet. Raises StateUnusable."""
        return read_state(self.path)

    def load_usage(self) -> UsageState | None:
        """None when there is none yet. Raises StateUnusable."""
        return _load(self.path / USAGE_NAME, UsageState)

    def save_state(self, state: AgentState) -> None:
        """Durable when this returns. Raises StateUnusable."""
        self._check_place()
        write_whole(self.path / STATE_NAME, msgspec.json.encode(state), is_synced=True)

    def save_usage(self, usage: UsageState) -> None:
        """Atomic, not synced. Raises StateUnusable."""
        self._check_place()
        write_whole(self.path / USAGE_NAME, msgspec.json.encode(usage), is_synced=False)

    def _check_place(self) -> None:
        """Raises StateUnusable where the directory was deleted or replaced."""
        if self._lock is None:
            return
        lock = self.path / LOCK_NAME
        try:
            is_ours = os.path.samestat(lock.stat(), os.fstat(self._lock.fileno()))
        except OSError as error:
            raise _unusable("find", lock, error) from error
        if not is_ours:
            raise StateUnusable(
                f"{lock} was replaced while this agent used it: the state directory was deleted. "
                "The next agent joins as a new one, in full until the scheduler has welcomed it"
            )

    def probe(self) -> None:
        """Check that the directory is writable. Raises StateUnusable."""
        probe = self.path / ".probe"
        write_whole(probe, b"probe", is_synced=True)
        try:
            probe.unlink()
        except OSError as error:
            raise _unusable("write", probe, error) from error

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def read_state(directory: Path) -> AgentState | None:
    """State of an agent that may be running; None when there is none yet. Raises StateUnusable."""
    return _load(directory / STATE_NAME, AgentState)


def _load(path: Path, form: type[S]) -> S | None:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_STATE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable("read", path, error) from error
    if len(data) > MAX_STATE_BYTES:
        raise StateUnusable(f"{path} is over {MAX_STATE_BYTES} bytes: {_REMEDY}")
    try:
        return msgspec.json.decode(data, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StateUnusable(f"{path} is damaged ({error}): {_REMEDY}") from error


_REMEDY = (
    "if its disk is intact, move the file away; the node then joins as a new one, in full "
    "until the scheduler has welcomed it"
)


def write_whole(path: Path, data: bytes, *, is_synced: bool) -> None:
    """Replace a file atomically; readers see the old or the new one. Raises StateUnusable."""
    aside = path.with_name(f"{path.name}.new")
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if is_synced:
                os.fsync(file.fileno())
        aside.replace(path)
        if is_synced:
            sync_directory(path.parent)
    except OSError as error:
        raise _unusable("write", path, error) from error


def sync_directory(directory: Path) -> None:
    """Make renames and creations in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(verb: str, path: Path, error: OSError) -> StateUnusable:
    return StateUnusable(
        f"cannot {verb} {path}: {error.strerror}; the agent needs a state directory it can write, "
        "with free space"
    )
