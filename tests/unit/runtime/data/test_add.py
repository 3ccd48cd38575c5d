"""Folders into a local store: what is stored once, what is refused, what is deleted."""

import errno
import hashlib
import os
import socket
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from wattline_runtime.data.add import NewVersion, Stored
from wattline_runtime.data.delete import Deleted, delete_version
from wattline_runtime.data.fetch.opening import why_of
from wattline_runtime.data.manifest import (
    Manifest,
    entry_line,
    head_line,
    manifest_key,
    object_key,
)
from wattline_runtime.data.stores.interface import (
    NotInStore,
    StoreAway,
    StoreError,
    StoreFull,
    StoreRefused,
)
from wattline_runtime.data.stores.local import LocalStore
from wattline_runtime.data.tree import TreeError
from wattline_runtime.data.verify import verify_version


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    (tmp_path / "store").mkdir(mode=0o750)
    return LocalStore(str(tmp_path / "store"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """300 files of 1,000 bytes in folders, whose names try the order of paths."""
    root = tmp_path / "digits"
    for number in range(300):
        path = root / ("a", "a.b", "a-b/a", "é")[number % 4] / f"{number:03}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"{number:04}".encode() * 250)
    return root


def put(root: Path, store: LocalStore) -> tuple[str, Stored]:
    with NewVersion(root) as version:
        return version.tree.sha256, version.put(store)


def paths_in(store: LocalStore, sha256: str) -> list[str]:
    return [entry.path for entry in Manifest(store.read(manifest_key(sha256)))]


def test_a_folder_is_stored_with_each_byte_once(folder: Path, store: LocalStore) -> None:
    (folder / "twin").write_bytes((folder / "a/000.csv").read_bytes())
    (folder / "empty").touch()
    sha256, stored = put(folder, store)
    assert stored.objects == 301
    manifest = b"".join(store.read(manifest_key(sha256)))
    assert hashlib.sha256(manifest).hexdigest() == sha256
    assert stored.bytes == 300_000 + len(manifest)
    found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert set(paths_in(store, sha256)) == found
    assert verify_version(store, sha256).ok
    assert put(folder, store) == (sha256, Stored(0, 0))


def test_a_second_version_stores_what_changed(folder: Path, store: LocalStore) -> None:
    first, _ = put(folder, store)
    for number in (3, 7, 9):
        next(folder.rglob(f"{number:03}.csv")).write_bytes(b"new" * number)
    second, stored = put(folder, store)
    assert second != first
    assert stored.objects == 3
    manifest = sum(map(len, store.read(manifest_key(second))))
    assert stored.bytes - manifest == 3 * (3 + 7 + 9)


def test_files_have_the_rights_of_the_directory(folder: Path, store: LocalStore) -> None:
    put(folder, store)
    root = Path(store.url)
    modes = {stat.S_IMODE(p.stat().st_mode) for p in root.rglob("*") if p.is_dir()}
    assert modes == {0o750}
    assert {stat.S_IMODE(p.stat().st_mode) for p in root.rglob("*") if p.is_file()} == {0o440}
    assert not list((root / "parts").iterdir())


def aged(path: Path) -> Path:
    """A file as of two days ago."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    os.utime(path, (time.time() - 2 * 86_400,) * 2)
    return path


def test_parts_of_writers_that_were_killed_leave(folder: Path, store: LocalStore) -> None:
    put(folder, store)
    parts = Path(store.url) / "parts"
    killed, other = aged(parts / ("0" * 24)), aged(parts / "README")
    store.settle()
    assert (killed.exists(), other.exists()) == (False, True)


def test_a_link_in_place_of_the_parts_deletes_no_files_of_whoever_writes(
    tmp_path: Path, store: LocalStore
) -> None:
    """As any member of the group may put it there that shares the store."""
    kept = [aged(tmp_path / "home" / name) for name in ("thesis.tex", "0" * 24)]
    (Path(store.url) / "parts").symlink_to(tmp_path / "home")
    store.settle()
    assert all(file.exists() for file in kept)


def test_a_link_in_place_of_a_new_folder_changes_no_mode(
    tmp_path: Path, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    made = os.mkdir

    def swapped(path: Path, mode: int = 0o777) -> None:
        made(path, mode)
        Path(path).rename(tmp_path / "moved")
        Path(path).symlink_to(tmp_path / "home")

    monkeypatch.setattr(os, "mkdir", swapped)
    with pytest.raises(StoreError):
        store.write("a/b", [b"x"])
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


def test_one_file_is_a_version(tmp_path: Path, store: LocalStore) -> None:
    (tmp_path / "one.npz").write_bytes(b"x")
    sha256, _ = put(tmp_path / "one.npz", store)
    assert paths_in(store, sha256) == ["one.npz"]


def test_a_link_inside_the_folder_is_the_file_it_leads_to(folder: Path, store: LocalStore) -> None:
    (folder / "newest").symlink_to("a/000.csv")
    sha256, stored = put(folder, store)
    assert "newest" in paths_in(store, sha256)
    assert stored.objects == 300


def _bad(kind: str, folder: Path) -> None:
    at = folder / "bad"
    match kind:
        case "outside":
            (folder.parent / "secret").write_text("x")
            at.symlink_to("../secret")
        case "folder":
            at.symlink_to("a")
        case "dangling":
            at.symlink_to("missing")
        case "pipe":
            os.mkfifo(at)
        case "socket":
            here = Path.cwd()
            os.chdir(folder)  # the address of a socket is short
            with socket.socket(socket.AF_UNIX) as one:
                one.bind("bad")
            os.chdir(here)
        case "control":
            (folder / "bad\x1b[31m").touch()
        case "bytes":
            Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff")).touch()


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("outside", r"bad is a link to .*/secret, outside of .*: only links inside"),
        ("folder", "bad is a link to a folder"),
        ("dangling", "bad: No such file"),
        ("pipe", "bad is a pipe: a data set holds files only"),
        ("socket", "bad is a socket"),
        ("control", "bad.*: the name has control characters"),
        ("bytes", "bad.*: the name is not UTF-8"),
    ],
)
def test_what_is_no_file_is_refused_with_its_name(
    kind: str, why: str, folder: Path, store: LocalStore
) -> None:
    _bad(kind, folder)
    with pytest.raises(TreeError, match=why) as caught:
        put(folder, store)
    assert str(caught.value).isprintable()
    assert not list(store.keys("manifests/"))


def test_nothing_and_no_place(tmp_path: Path) -> None:
    (tmp_path / "void/deep").mkdir(parents=True)
    with pytest.raises(TreeError, match="void holds no file"):
        NewVersion(tmp_path / "void")
    with pytest.raises(TreeError, match="missing: No such file"):
        NewVersion(tmp_path / "missing")
    with pytest.raises(TreeError, match="is a character device"):
        NewVersion(Path("/dev/null"))


@pytest.mark.parametrize(
    ("path", "text", "why"),
    [
        ("/proc/self/mem", "mem: Input/output error", "unsettled"),
        ("/dev/null", "is a character device", "unfit"),
    ],
)
def test_an_error_of_the_file_system_says_nothing_about_the_file(
    path: str, text: str, why: str
) -> None:
    with pytest.raises(TreeError, match=text) as caught:
        NewVersion(Path(path))
    assert why_of(caught.value) == why


@pytest.mark.parametrize("change", ["content", "size", "gone", "swapped"])
def test_a_file_that_changes_after_its_hash_is_refused(
    change: str, folder: Path, store: LocalStore
) -> None:
    with NewVersion(folder) as version:
        at = folder / "a/000.csv"
        if change == "content":
            at.write_bytes(b"x" * 1_000)
        elif change == "size":
            at.write_bytes(b"longer" * 1_000)
        elif change == "gone":
            at.unlink()
        else:
            at.unlink()
            at.symlink_to("/etc/hostname")
        with pytest.raises(TreeError, match=r"a/000.csv"):
            version.put(store)
    assert not list(store.keys("manifests/"))
    assert not list(store.keys("parts/"))


def test_a_file_that_changes_while_it_is_read_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process appends between two reads of one file."""
    from wattline_runtime.data import tree

    at = folder / "a/000.csv"
    monkeypatch.setattr(tree, "READ_BYTES", 100)
    one = tree.Files(folder).at("a/000.csv")
    chunks: Iterator[bytes] = tree.read_unchanged(one)
    next(chunks)
    with at.open("ab") as file:
        file.write(b"more")
    with pytest.raises(TreeError, match=r"a/000.csv changed while it was added"):
        list(chunks)


def test_a_torn_object_is_written_again(folder: Path, store: LocalStore) -> None:
    sha256, _ = put(folder, store)
    torn = Path(store.url) / object_key(hashlib.sha256(b"0000" * 250).hexdigest())
    torn.chmod(0o600)
    torn.write_bytes(b"")
    assert put(folder, store)[1].objects == 1
    assert verify_version(store, sha256).ok


def test_verify_names_the_files(folder: Path, store: LocalStore) -> None:
    sha256, _ = put(folder, store)
    root = Path(store.url)
    for number, content in ((0, b"x" * 1_000), (1, b"short")):
        at = root / object_key(hashlib.sha256(f"{number:04}".encode() * 250).hexdigest())
        at.chmod(0o600)
        at.write_bytes(content)
    (root / object_key(hashlib.sha256(b"0002" * 250).hexdigest())).unlink()
    found = verify_version(store, sha256)
    assert not found.ok
    assert {one.path: one.problem.split()[1] for one in found.problems} == {
        "a/000.csv": "has",
        "a.b/001.csv": "has",
        "a-b/a/002.csv": f"{hashlib.sha256(b'0002' * 250).hexdigest()}",
    }
    store.delete(manifest_key(sha256))
    (problem,) = verify_version(store, sha256).problems
    assert "has no manifests/" in problem.problem


def all_of(manifests: Sequence[str]) -> Sequence[str]:
    """All are of versions."""
    return manifests


def test_a_manifest_that_is_of_no_version_keeps_nothing(folder: Path, store: LocalStore) -> None:
    first, _ = put(folder, store)
    with NewVersion(folder) as version:
        entries = list(version.entries())
    planted = b"".join(map(entry_line, entries[:200]))
    planted = head_line(200, sum(one.bytes for one in entries[:200])) + planted
    store.write(manifest_key(hashlib.sha256(planted).hexdigest()), [planted])
    store.write("manifests/garbage", [b"garbage"])
    asked: list[str] = []

    def registered(manifests: Sequence[str]) -> Sequence[str]:
        asked.extend(manifests)
        return ()

    assert delete_version(store, first, registered, lambda: None).objects == 300
    assert asked == [hashlib.sha256(planted).hexdigest()]
    assert not list(store.keys("objects/"))


def test_a_deletion_leaves_what_others_need_and_can_be_repeated(
    folder: Path, store: LocalStore
) -> None:
    first, _ = put(folder, store)
    for number in range(10):
        next(folder.rglob(f"{number:03}.csv")).write_bytes(b"new" * (number + 1))
    second, _ = put(folder, store)
    renewals = iter(range(4))

    def interrupted() -> None:
        next(renewals)

    with pytest.raises(StopIteration):
        delete_version(store, first, all_of, interrupted)
    assert manifest_key(first) in store.keys("manifests/")
    assert delete_version(store, first, all_of, lambda: None) == Deleted(10, 10_000)
    assert list(store.keys("manifests/")) == [manifest_key(second)]
    assert verify_version(store, second).ok
    assert delete_version(store, first, all_of, lambda: None) == Deleted(0, 0)
    assert delete_version(store, second, all_of, lambda: None).objects == 300
    assert not list(store.keys("objects/"))


def test_a_deletion_stops_where_another_manifest_is_damaged(
    folder: Path, store: LocalStore
) -> None:
    first, _ = put(folder, store)
    store.write(manifest_key("0" * 64), [b"garbage\n"])
    with pytest.raises(ValueError, match="not that of a manifest"):
        delete_version(store, first, all_of, lambda: None)
    assert verify_version(store, first).ok


def test_a_store_that_is_away_or_closed(tmp_path: Path, store: LocalStore) -> None:
    with pytest.raises(StoreAway, match="make the directory, or mount"):
        LocalStore(str(tmp_path / "missing"))
    (tmp_path / "file").touch()
    with pytest.raises(StoreRefused, match="is not a directory"):
        LocalStore(str(tmp_path / "file"))
    Path(store.url).rmdir()
    for act in (
        lambda: store.size("objects/aa/a"),
        lambda: list(store.read("objects/aa/a")),
        lambda: store.write("objects/aa/a", [b"x"]),
        lambda: list(store.keys("objects/")),
    ):
        with pytest.raises(StoreAway):
            act()
    assert not (tmp_path / "store").exists()


def test_a_store_that_is_full_is_not_away(store: LocalStore) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"x"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreFull, match="objects/aa/a: No space"):
        store.write("objects/aa/a", chunks())
    assert list(store.keys("objects/")) == []


def test_keys_stay_inside_the_directory(store: LocalStore) -> None:
    for key in ("../x", "/etc/passwd", "a/../../x", "a//b"):
        with pytest.raises(StoreError, match="is no key"):
            store.write(key, [b"x"])
    with pytest.raises(NotInStore):
        list(store.read("objects/aa/missing"))
