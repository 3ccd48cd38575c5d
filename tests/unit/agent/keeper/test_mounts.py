"""Whether a path leads to a file system that may hang, from the table of mounts and links alone."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from wattline_agent.keeper.mounts import MAX_STEPS, Mounts, NotLocal

ROOT = "21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"


@dataclass
class Host:
    """Whose root is local."""

    folder: Path
    root: str = ROOT
    may_touch_root: bool = False
    opened: ExitStack = field(default_factory=ExitStack)

    def mounts(self, *others: tuple[str, str]) -> Mounts:
        """(where, type) of each below the folder."""
        text = self.root
        for where, kind in others:
            place = f"{self.folder}/{where}".replace(" ", "\\040")
            text += f"30 21 0:40 / {place} rw,nosuid - {kind} source rw,vers=4.2\n"
        file = self.folder / "mountinfo"
        file.write_text(text, newline="\n")
        return self.opened.enter_context(closing(Mounts(file, may_touch_root=self.may_touch_root)))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    with made.opened:
        yield made


def is_local(mounts: Mounts, path: Path | str) -> bool:
    try:
        mounts.touch(str(path))
    except NotLocal:
        return False
    return True


@pytest.mark.parametrize("kind", ["nfs4", "lustre", "fuse.sshfs", "autofs", "9p"])
def test_what_lies_below_a_server_is_elsewhere(host: Host, tmp_path: Path, kind: str) -> None:
    mounts = host.mounts(("away", kind))
    assert not is_local(mounts, tmp_path / "away")
    assert not is_local(mounts, tmp_path / "away" / "deep" / "down")
    assert is_local(mounts, tmp_path / "away2")
    assert is_local(mounts, tmp_path / "missing" / "too")


def test_what_is_mounted_in_a_directory_is_below_it(host: Host, tmp_path: Path) -> None:
    mounts = host.mounts(("1.0.1", "fuse"), ("1.0.2/data/set", "tmpfs"), ("1.0.30", "fuse"))
    assert [mounts.is_any_below(f"{tmp_path}/1.0.{n}") for n in (1, 2, 3)] == [True, True, False]
    assert not mounts.is_any_below(f"{tmp_path}/1.0.2/data/set/deeper")


def test_a_local_file_system_of_its_own_is_here(host: Host, tmp_path: Path) -> None:
    mounts = host.mounts(("disk", "xfs"), ("disk/away", "nfs"))
    assert is_local(mounts, tmp_path / "disk" / "x")
    assert not is_local(mounts, tmp_path / "disk" / "away" / "x")


def test_of_two_at_one_place_the_later_is_seen(host: Host, tmp_path: Path) -> None:
    assert is_local(host.mounts(("a", "nfs"), ("a", "tmpfs")), tmp_path / "a" / "x")
    assert not is_local(host.mounts(("a", "tmpfs"), ("a", "nfs")), tmp_path / "a" / "x")


def test_what_is_mounted_right_there_covers_it(host: Host, tmp_path: Path) -> None:
    mounts = host.mounts(("a b", "fuse"))
    found = [mounts.covers(f"{tmp_path}/{name}") for name in ("a b", "a b/x", "a")]
    assert found == [True, False, False]


def test_a_name_with_a_space_is_the_tables(host: Host, tmp_path: Path) -> None:
    assert not is_local(host.mounts(("a b", "nfs")), tmp_path / "a b")


@pytest.mark.parametrize(
    "name", ["a\rb", "a\x0bb", "a\x1cb", "a\x85b", "a\u2003b", "a\u2028b", "-"]
)
def test_a_name_that_anybody_gave_breaks_no_line_of_the_table(
    host: Host, tmp_path: Path, name: str
) -> None:
    """Users mount by FUSE where they like; the kernel puts a space, tab, newline or \\ otherwise,
    and nothing else."""
    mounts = host.mounts((name, "fuse.sshfs"), ("away", "nfs"))
    assert not is_local(mounts, tmp_path / name / "x")
    assert not is_local(mounts, tmp_path / "away")
    assert is_local(mounts, tmp_path / "a")


def test_links_are_followed_to_where_they_lead(host: Host, tmp_path: Path) -> None:
    mounts = host.mounts(("away", "nfs"))
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


def test_links_in_a_circle_are_left_to_the_kernel(host: Host, tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    assert is_local(host.mounts(), tmp_path / "one")


def test_a_way_without_end_is_not_walked(host: Host) -> None:
    mounts = host.mounts()
    assert is_local(mounts, "a/" * (MAX_STEPS - 1))
    assert not is_local(mounts, "a/" * MAX_STEPS)


def test_where_the_root_is_a_servers_all_is(host: Host, tmp_path: Path) -> None:
    host.root = ROOT.replace("ext4", "nfs")
    assert not is_local(host.mounts(), "/bin/true")
    host.may_touch_root = True
    mounts = host.mounts(("here", "tmpfs"), ("away", "nfs"))
    assert is_local(mounts, "/bin/true")
    assert is_local(mounts, tmp_path / "here" / "x")
    assert not is_local(mounts, tmp_path / "away" / "x"), "but for other servers"


def test_this_hosts_own_table_is_read() -> None:
    with closing(Mounts()) as mounts:
        assert not is_local(mounts, "/proc/self")
