"""What an account makes for itself where everybody may, and whether a keeper may become others."""

import os
from pathlib import Path

import pytest

from wattline_agent.keeper.processes.account import Account, become, can_run_as, make_own


def test_a_directory_is_made_for_one_alone_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "7"
    for _ in range(2):
        make_own(str(path))
        assert path.stat().st_mode & 0o777 == 0o700


def test_a_link_or_a_file_that_was_there_first_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(PermissionError, match="belongs to another account"):
            make_own(str(tmp_path / name))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "7"
    path.mkdir()
    os.chown(path, 12345, 12345)
    with pytest.raises(PermissionError, match="belongs to another account"):
        make_own(str(path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root looks for an account at all")
def test_an_account_that_the_host_does_not_have_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="this host has no account no-such"):
        become(Account("no-such"), 1)


def test_only_root_becomes_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(PermissionError, match="only a keeper that runs as root"):
        become(Account("root"), 1)


@pytest.mark.parametrize(
    ("uid", "capabilities", "may"),
    [
        (0, "000001ffffffffff", True),
        (0, "00000000000000c1", True),
        (0, "00000000000000c0", False),
        (0, "0000000000000081", False),
        (0, "0000000000000000", False),
        (12345, "000001ffffffffff", False),  # tasks would keep what it was given
    ],
)
def test_it_takes_root_and_three_permissions(
    tmp_path: Path, uid: int, capabilities: str, may: bool
) -> None:
    status = tmp_path / "status"
    uids = f"Uid:\t1\t{uid}\t{uid}\t{uid}\n"
    status.write_text(f"Name:\tkeeper\n{uids}CapPrm:\tffffffffffffffff\nCapEff:\t{capabilities}\n")
    assert can_run_as(status) is may
