"""Whether a path leads to a file system that may hang, from the table of mounts and links alone."""

from pathlib import Path

import pytest

from wattline_agent.keeper.mounts import Elsewhere, Mounts


def table(root: Path, *mounts: tuple[str, str]) -> Mounts:
    """A host whose root is local; (where, type) of others below `root`."""
    lines = ["21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw"]
    for where, kind in mounts:
        place = f"{root}/{where}".replace(" ", "\\040")
        lines.append(f"30 21 0:40 / {place} rw,nosuid - {kind} source rw,vers=4.2")
    file = root / "mountinfo"
    file.write_text("\n".join(lines) + "\n")
    return Mounts(file)


def is_local(mounts: Mounts, path: Path | str) -> bool:
    try:
        mounts.touch(str(path))
    except Elsewhere:
        return False
    return True


@pytest.mark.parametrize("kind", ["nfs4", "lustre", "fuse.sshfs", "autofs", "9p"])
def test_what_lies_below_a_server_is_elsewhere(tmp_path: Path, kind: str) -> None:
    mounts = table(tmp_path, ("away", kind))
    assert not is_local(mounts, tmp_path / "away")
    assert not is_local(mounts, tmp_path / "away" / "deep" / "down")
    assert is_local(mounts, tmp_path / "away2")
    assert is_local(mounts, tmp_path / "missing" / "too")


def test_a_local_file_system_of_its_own_is_here(tmp_path: Path) -> None:
    mounts = table(tmp_path, ("disk", "xfs"), ("disk/away", "nfs"))
    assert is_local(mounts, tmp_path / "disk" / "x")
    assert not is_local(mounts, tmp_path / "disk" / "away" / "x")


def test_of_two_at_one_place_the_later_is_seen(tmp_path: Path) -> None:
    assert is_local(table(tmp_path, ("a", "nfs"), ("a", "tmpfs")), tmp_path / "a" / "x")
    assert not is_local(table(tmp_path, ("a", "tmpfs"), ("a", "nfs")), tmp_path / "a" / "x")


def test_a_name_with_a_space_is_the_tables(tmp_path: Path) -> None:
    assert not is_local(table(tmp_path, ("a b", "nfs")), tmp_path / "a b")


def test_links_are_followed_to_where_they_lead(tmp_path: Path) -> None:
    mounts = table(tmp_path, ("away", "nfs"))
    (tmp_path / "here").mkdir()
    for name, target in {
        "absolute": f"{tmp_path}/away/home",
        "relative": "here/../away",
        "twice": "relative",
        "back": "here",
    }.items():
        (tmp_path / name).symlink_to(target)
    for name in ("absolute", "relative", "twice"):
        assert not is_local(mounts, tmp_path / name / "x"), name
    assert is_local(mounts, tmp_path / "back" / "x")
    assert is_local(mounts, f"{tmp_path}/here/.././/back")
    assert not is_local(mounts, f"{tmp_path}/back/../away/x")


def test_links_in_a_circle_are_left_to_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    assert is_local(table(tmp_path), tmp_path / "one")


def test_where_the_root_is_a_servers_all_is(tmp_path: Path) -> None:
    file = tmp_path / "mountinfo"
    file.write_text("21 1 0:20 / / rw - nfs server:/ rw\n")
    assert not is_local(Mounts(file), "/bin/true")


def test_this_hosts_own_table_is_read() -> None:
    assert not is_local(Mounts(), "/proc/self")
