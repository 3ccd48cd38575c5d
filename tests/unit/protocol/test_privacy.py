"""Secret files: what counts as open to others, access lists included."""

import os
import struct
from pathlib import Path

import pytest

from wattline_protocol.trust.file_privacy import ACCESS_LIST, is_private

NOBODY = 0xFFFFFFFF
OWNER, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 16, 32
READ = 4
ELSE = 54321
"""A user who is neither root nor we."""

Entry = tuple[int, int, int]


def access_list(*, user: int = 0, named_group: int = 0, group: int = 0, other: int = 0) -> bytes:
    """As systemd makes it for a credential: `user` may read beside the owner, nobody else."""
    entries: list[Entry] = [(OWNER, READ, NOBODY), (USER, READ, user), (GROUP_OBJ, group, NOBODY)]
    entries += [(GROUP, named_group, 0), (MASK, READ, NOBODY), (OTHER, other, NOBODY)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def secret(path: Path, mode: int, access: bytes | None = None) -> Path:
    path.write_text("secret")
    path.chmod(mode)
    if access is not None:
        try:
            os.setxattr(path, ACCESS_LIST, access)
        except OSError as error:
            pytest.skip(f"no access lists on this file system: {error.strerror}")
    return path


def judged(path: Path) -> bool:
    with path.open("rb") as file:
        return is_private(file.fileno())


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_owner_only_is_private(tmp_path: Path, mode: int) -> None:
    assert judged(secret(tmp_path / "a", mode))


@pytest.mark.parametrize("mode", [0o440, 0o640, 0o404, 0o660, 0o444])
def test_a_mode_that_lets_others_in_is_not(tmp_path: Path, mode: int) -> None:
    assert not judged(secret(tmp_path / "a", mode))


def test_a_credential_of_our_own_user_is_private(tmp_path: Path) -> None:
    path = secret(tmp_path / "a", 0o400, access_list(user=os.geteuid()))
    assert path.stat().st_mode & 0o777 == 0o440
    assert judged(path)


@pytest.mark.parametrize(
    "access",
    [
        access_list(user=ELSE),
        access_list(named_group=READ),
        access_list(group=READ),
        access_list(other=READ),
    ],
    ids=["another user", "a named group", "its own group", "everybody"],
)
def test_a_list_that_lets_anyone_else_in_is_not_private(tmp_path: Path, access: bytes) -> None:
    assert not judged(secret(tmp_path / "a", 0o400, access))
