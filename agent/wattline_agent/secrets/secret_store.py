"""Entries on disk: `DIR/USER/ENTRY`, private files of the agent's account; and systemd credentials.

A credential of the agent's unit is `wattline-secret.USER.ENTRY`, and its ENTRY has no dot, so that
a name has one meaning. It takes precedence over a file, and only the unit changes it.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from wattline_agent.statefile import sync_directory
from wattline_protocol.data.secrets import MAX_OF_NODE, MAX_OF_USER, MAX_VALUE_BYTES
from wattline_protocol.text.names import check_name
from wattline_protocol.trust.file_privacy import is_private

DEFAULT_NAME = "secrets"
"""Of the directory, below the agent's state directory."""
CREDENTIAL = "wattline-secret."
PRIVATE_DIR, PRIVATE_FILE = 0o700, 0o600
ASIDE = ".new"
"""An entry while it is written: no name of an entry begins with a dot."""
FILE_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
DIR_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY
MAX_PROBLEMS = 8


class SecretUnusable(Exception):
    """An entry that cannot be read or written: why, and the remedy; never its value."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a node has."""

    names: tuple[str, ...] = ()
    """USER/ENTRY, sorted."""
    problems: tuple[str, ...] = ()
    """Files that are refused, with the remedy."""


class SecretStore:
    """The entries of one node. One thread at a time."""

    def __init__(self, folder: Path, credentials: str = "") -> None:
        """`credentials`: `$CREDENTIALS_DIRECTORY`; empty = there is none."""
        self._folder = str(folder)
        self._credentials = credentials

    def find(self) -> Found:
        """All entries that can be read, and why others cannot."""
        problems: list[str] = []
        names: set[str] = set()
        try:
            names.update(f"{user}/{entry}" for user, entry in self._passed(problems))
            names.update(self._on_disk(problems))
        except OSError as error:
            problems.append(f"secrets cannot be read: {error.strerror}")
        if len(names) > MAX_OF_NODE:
            problems.append(f"{len(names)} entries; a node has {MAX_OF_NODE} at most")
        return Found(tuple(sorted(names)[:MAX_OF_NODE]), tuple(problems[:MAX_PROBLEMS]))

    def read(self, user: str, entry: str) -> bytes:
        """The value of an entry. Raises SecretUnusable."""
        _check_names(user, entry)
        with suppress(FileNotFoundError):
            return self._read_credential(user, entry)
        try:
            with self._user_dir(user) as place:
                return _value(entry, place, f"{self._folder}/{user}/{entry}")
        except FileNotFoundError:
            text = f"this node has no secret {entry} of user {user}"
            raise SecretUnusable(text) from None

    def write(self, user: str, entry: str, value: bytes) -> None:
        """Store a value: on disk when this returns. Raises SecretUnusable."""
        _check_names(user, entry)
        if not 0 < len(value) <= MAX_VALUE_BYTES:
            raise SecretUnusable(f"a value has 1 to {MAX_VALUE_BYTES} bytes")
        self._refuse_credential(user, entry)
        self._make_dir(self._folder)
        self._make_dir(f"{self._folder}/{user}")
        with self._user_dir(user) as place, _explained():
            self._check_room(user, entry, place)
            _replace(place, entry, value)

    def remove(self, user: str, entry: str) -> None:
        """Remove an entry, if there is one. Raises SecretUnusable."""
        _check_names(user, entry)
        self._refuse_credential(user, entry)
        with suppress(FileNotFoundError), self._user_dir(user) as place, _explained():
            os.unlink(entry, dir_fd=place)
            os.fsync(place)
        with suppress(OSError):
            os.rmdir(f"{self._folder}/{user}")  # noqa: PTH106 - its last one

    # --- files ----------------------------------------------------------------------------

    def _make_dir(self, path: str) -> None:
        with suppress(FileExistsError), _explained():
            os.mkdir(path, PRIVATE_DIR)  # noqa: PTH102 - beside os.open
            sync_directory(Path(path).parent)

    @contextmanager
    def _user_dir(self, user: str) -> Iterator[int]:
        """Descriptor of a user's directory. Raises SecretUnusable, FileNotFoundError."""
        with _private_dir(self._folder) as above, _private_dir(user, above, self._folder) as place:
            yield place

    def _on_disk(self, problems: list[str]) -> Iterator[str]:
        try:
            with _private_dir(self._folder) as above:
                for user in sorted(os.listdir(above)):  # noqa: PTH208 - of a descriptor
                    yield from self._of_user(user, above, problems)
        except FileNotFoundError:
            return
        except SecretUnusable as error:
            problems.append(str(error))

    def _of_user(self, user: str, above: int, problems: list[str]) -> Iterator[str]:
        try:
            check_name(user)
            with _private_dir(user, above, self._folder) as place:
                entries = _entries(place)
                for entry in entries[:MAX_OF_USER]:
                    if refusal := _refusal(entry, place, f"{self._folder}/{user}/{entry}"):
                        problems.append(refusal)
                    else:
                        yield f"{user}/{entry}"
        except (SecretUnusable, ValueError) as error:
            problems.append(str(error))
        except FileNotFoundError:  # removed just now
            return
        else:
            if len(entries) > MAX_OF_USER:
                problems.append(f"{user} has {len(entries)} entries; {MAX_OF_USER} at most")

    def _check_room(self, user: str, entry: str, place: int) -> None:
        there = _entries(place)
        if entry in there:
            return
        if len(there) >= MAX_OF_USER:
            text = f"{user} has {MAX_OF_USER} entries here, the maximum"
            raise SecretUnusable(f"{text}; remove some: wattline secret rm ENTRY")
        if len(self.find().names) >= MAX_OF_NODE:
            raise SecretUnusable(f"the node has {MAX_OF_NODE} entries, the maximum")

    # --- credentials ----------------------------------------------------------------------

    def _passed(self, problems: list[str]) -> Iterator[tuple[str, str]]:
        if not self._credentials:
            return
        for name in sorted(os.listdir(self._credentials)):  # noqa: PTH208 - names
            if not name.startswith(CREDENTIAL):
                continue
            user, _, entry = name.removeprefix(CREDENTIAL).rpartition(".")
            try:
                _check_names(user, entry)
                self._read_credential(user, entry)
            except (SecretUnusable, FileNotFoundError) as error:
                problems.append(str(error))
            else:
                yield user, entry

    def _read_credential(self, user: str, entry: str) -> bytes:
        """Raises FileNotFoundError, SecretUnusable."""
        if not self._credentials or "." in entry:
            raise FileNotFoundError
        name = f"{CREDENTIAL}{user}.{entry}"
        place = os.open(self._credentials, DIR_FLAGS)
        try:
            return _value(name, place, f"{self._credentials}/{name}")
        finally:
            os.close(place)

    def _refuse_credential(self, user: str, entry: str) -> None:
        try:
            self._read_credential(user, entry)
        except FileNotFoundError:
            return
        raise SecretUnusable("it is a systemd credential of the agent's unit: change it there")


def _entries(place: int) -> list[str]:
    names = os.listdir(place)
    return sorted(name for name in names if not name.startswith("."))


def _check_names(user: str, entry: str) -> None:
    try:
        check_name(user)
        check_name(entry)
    except ValueError as error:
        raise SecretUnusable(str(error)) from error


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError as error:
        raise SecretUnusable(f"{error.strerror}: {error.filename or 'the directory'}") from error


@contextmanager
def _private_dir(name: str, above: int | None = None, parent: str = "") -> Iterator[int]:
    """Raises FileNotFoundError, SecretUnusable where others may enter it."""
    path = f"{parent}/{name}" if parent else name
    with _explained():
        place = os.open(name, DIR_FLAGS, dir_fd=above)
    try:
        found = os.fstat(place)
        if found.st_uid not in (0, os.geteuid()):
            raise SecretUnusable(f"{path} belongs to another account: chown it to the agent's")
        if found.st_mode & 0o077:
            mode = stat.S_IMODE(found.st_mode)
            raise SecretUnusable(f"mode {mode:04o} lets others in: chmod 700 {path}")
        yield place
    finally:
        os.close(place)


def _refusal(name: str, place: int, path: str) -> str:
    """Why an entry is refused; empty = it is not."""
    try:
        check_name(name)
        file = os.open(name, FILE_FLAGS, dir_fd=place)
    except ValueError as error:
        return str(error)
    except OSError as error:
        return f"{path}: {error.strerror}"
    try:
        return _refusal_of(file, path)
    finally:
        os.close(file)


def _refusal_of(file: int, path: str) -> str:
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        return f"{path} is no regular file"
    if found.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to another account: chown it to the agent's"
    if not is_private(file):
        mode = stat.S_IMODE(found.st_mode)
        return f"mode {mode:04o} lets others read it: chmod 600 {path}"
    if not 0 < found.st_size <= MAX_VALUE_BYTES:
        return f"{path} has {found.st_size} bytes; a value has 1 to {MAX_VALUE_BYTES}"
    return ""


def _value(name: str, place: int, path: str) -> bytes:
    """Raises FileNotFoundError, SecretUnusable."""
    with _explained():
        file = os.open(name, FILE_FLAGS, dir_fd=place)
    try:
        if refusal := _refusal_of(file, path):
            raise SecretUnusable(refusal)
        return os.read(file, MAX_VALUE_BYTES)
    finally:
        os.close(file)


def write_all(file: int, value: bytes) -> None:
    """Write a value. Raises OSError also where the disk took only a part of it."""
    if os.write(file, value) != len(value):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _replace(place: int, entry: str, value: bytes) -> None:
    aside = f"{ASIDE}.{entry}"
    with suppress(FileNotFoundError):  # of an agent that died while it wrote
        os.unlink(aside, dir_fd=place)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    file = os.open(aside, flags, PRIVATE_FILE, dir_fd=place)
    try:
        write_all(file, value)
        os.fsync(file)
    finally:
        os.close(file)
    os.rename(aside, entry, src_dir_fd=place, dst_dir_fd=place)
    os.fsync(place)
