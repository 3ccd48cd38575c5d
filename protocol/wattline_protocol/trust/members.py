"""Members authorized to connect to the scheduler: the allow-list `authorized/`, and enrollment.

A site directory contains `keys/scheduler.key` (0600) and `authorized/NAME.toml` (name, role and
public key of each member).
"""

import errno
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, get_args

import msgspec

from wattline_protocol.site.model import Role
from wattline_protocol.text.names import check_name
from wattline_protocol.text.toml import document_text
from wattline_protocol.trust.keys import (
    MAX_KEY_FILE_BYTES,
    JoinBundle,
    KeyFileError,
    KeyPair,
    bounded_text,
    check_key,
    decoded,
    load_keys,
    save_bundle,
    save_keys,
)

MAX_MEMBERS = 50_000
RECHECK_S = 1.0
"""Longest time until a removal or change in `authorized/` is noticed."""
STRANGER_RECHECK_S = 0.05
"""An unknown key makes the list be read again, but no more often than this."""

USER_ROLES: frozenset[Role] = frozenset({"submitter", "operator", "admin"})
"""Roles of people; the others are programs."""

SCHEDULER_KEY = Path("keys/scheduler.key")
AUTHORIZED = Path("authorized")


class Member(msgspec.Struct, frozen=True):
    """A peer that has proved a key. Workers are known to their gateway only, never enrolled."""

    name: str
    role: Role | Literal["worker"]
    public_key: str


# --- The allow-list ---------------------------------------------------------------------


_Signature = tuple[tuple[str, int, int, int], ...]
"""Name, modification time, size and inode of each member file."""


_OUT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class _Exhausted(KeyFileError):
    """A file cannot be read now, for lack of descriptors or memory. Its member has not left."""


class _MemberFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    role: Role
    public_key: str


class Authorized:
    """The allow-list in `authorized/`: read at start, and again when a file in it changes.

    Thread-safe. A file that cannot be used authorizes no member and is reported in `problems`. When
    the directory itself becomes unreadable, or the process has no descriptor left to read a file,
    the last list stays in force, because neither may disconnect a whole fleet; `problems` reports
    it, and the list is read again.
    """

    def __init__(
        self,
        directory: Path,
        roles: Mapping[str, Role] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`roles`: the site file's [roles]. Raises KeyFileError when `directory` is unreadable."""
        self._directory = directory
        self._roles = dict(roles or {})
        self._clock = clock
        self._lock = threading.Lock()
        self._checked_s = clock()
        self._seen = self._signature()
        self._members, self.problems = self._read(self._seen)

    def member(self, public_key: str) -> Member | None:
        """The member with this key at present; None: none."""
        self._recheck(RECHECK_S)
        if public_key not in self._members:
            # Perhaps just enrolled: a script that enrolls and connects must not be refused.
            self._recheck(STRANGER_RECHECK_S)
        return self._members.get(public_key)

    def members(self) -> tuple[Member, ...]:
        """All members that may connect now, by name."""
        self._recheck(RECHECK_S)
        return tuple(sorted(self._members.values(), key=lambda member: member.name))

    def users(self) -> tuple[str, ...]:
        """Names of users that may submit, in order; includes those enrolled a moment ago."""
        self._recheck(STRANGER_RECHECK_S)
        people = (one.name for one in self._members.values() if one.role in USER_ROLES)
        return tuple(sorted(people))

    def _recheck(self, after_s: float) -> None:
        if self._clock() - self._checked_s < after_s:
            return
        with self._lock:
            self._checked_s = self._clock()
            try:
                signature = self._signature()
                if signature != self._seen:
                    self._members, self.problems = self._read(signature)
                    self._seen = signature
            except KeyFileError as error:
                self.problems = (f"{error}; the last list stays in force",)
                self._seen = ()

    def _signature(self) -> "_Signature":
        """Changes whenever a member file is added, removed, replaced or edited."""
        try:
            with os.scandir(self._directory) as entries:
                found = [(e.name, e.stat()) for e in entries if e.name.endswith(".toml")]
        except OSError as error:
            raise KeyFileError(f"cannot read {self._directory}: {error.strerror}") from error
        return tuple(sorted((name, s.st_mtime_ns, s.st_size, s.st_ino) for name, s in found))

    def _read(self, signature: "_Signature") -> tuple[dict[str, Member], tuple[str, ...]]:
        members: dict[str, Member] = {}
        problems: list[str] = []
        for path in (self._directory / name for name, *_ in signature):
            try:
                member = _read_member(path, self._roles)
            except _Exhausted:
                raise
            except KeyFileError as error:
                problems.append(str(error))
                continue
            if member.public_key in members:
                owner = members[member.public_key].name
                problems.append(f"{path}: its key is that of {owner}; each member needs its own")
            elif len(members) == MAX_MEMBERS:
                problems.append(f"{path}: more than {MAX_MEMBERS} members")
                break
            else:
                members[member.public_key] = member
        return members, tuple(problems)


def _read_member(path: Path, roles: Mapping[str, Role]) -> Member:
    try:
        with path.open("rb") as opened:
            text = bounded_text(path, opened.read(MAX_KEY_FILE_BYTES + 1))
    except OSError as error:
        kind = _Exhausted if error.errno in _OUT_OF else KeyFileError
        raise kind(f"cannot read {path}: {error.strerror}") from error
    file = decoded(path, text, _MemberFile)
    try:
        check_name(file.name)
        check_key(file.public_key)
    except ValueError as error:
        raise KeyFileError(f"{path}: {error}") from error
    if file.name != path.stem:
        raise KeyFileError(f"{path}: the name inside is {file.name}; it must be {path.stem}")
    return Member(file.name, _role_of(file, roles), file.public_key)


def _role_of(file: _MemberFile, roles: Mapping[str, Role]) -> Role:
    """[roles] moves users between submitter, operator and admin; machines keep their role."""
    if file.role in ("agent", "gateway"):
        return file.role
    return roles.get(file.name, file.role)


# --- Creating a site's keys, enrolling members ------------------------------------------


def init_site_keys(directory: Path) -> KeyPair:
    """Create `keys/scheduler.key` and `authorized/` below the site directory `directory`.

    Raises KeyFileError when a scheduler key exists already, or nothing can be written.
    """
    try:
        (directory / SCHEDULER_KEY).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        (directory / AUTHORIZED).mkdir(parents=True, exist_ok=True, mode=0o750)
    except OSError as error:
        raise KeyFileError(f"cannot make {error.filename}: {error.strerror}") from error
    keys = KeyPair.generate()
    save_keys(keys, directory / SCHEDULER_KEY)
    return keys


def enroll(
    directory: Path,
    name: str,
    role: Role,
    *,
    site: str,
    agent_endpoint: str,
    client_endpoint: str,
    bundle_path: Path,
) -> JoinBundle:
    """Create a key pair for `name`, list it in `authorized/`, and write the bundle `bundle_path`.

    Raises KeyFileError when the name is invalid, is enrolled already, or the bundle exists.
    """
    member_path = _free_member_path(directory, name, role)
    scheduler = load_keys(directory / SCHEDULER_KEY)
    own = KeyPair.generate()
    bundle = JoinBundle(
        site=site,
        name=name,
        role=role,
        agent_endpoint=agent_endpoint,
        client_endpoint=client_endpoint,
        scheduler_public_key=scheduler.public,
        public_key=own.public,
        secret_key=own.secret,
    )
    save_bundle(bundle, bundle_path)
    try:
        _write_member(member_path, Member(name, role, own.public))
    except KeyFileError:
        bundle_path.unlink()  # a bundle without authorization would only mislead its owner
        raise
    return bundle


def _free_member_path(directory: Path, name: str, role: str) -> Path:
    try:
        check_name(name)
    except ValueError as error:
        raise KeyFileError(str(error)) from error
    if role not in get_args(Role):
        raise KeyFileError(f'there is no role "{role}"; roles are {", ".join(get_args(Role))}')
    path = directory / AUTHORIZED / f"{name}.toml"
    if path.exists():
        raise KeyFileError(
            f"{name} is already enrolled; for a new key, remove {path} first "
            "(its old key is refused from then on)"
        )
    return path


def _write_member(path: Path, member: Member) -> None:
    """Readers see the whole file or none: it is written aside and then renamed."""
    aside = path.with_name(f".{path.name}.new")
    try:
        aside.write_text(document_text(msgspec.structs.asdict(member)), encoding="utf-8")
        aside.chmod(0o640)
        aside.replace(path)
    except OSError as error:
        raise KeyFileError(f"cannot write {path}: {error.strerror}") from error
