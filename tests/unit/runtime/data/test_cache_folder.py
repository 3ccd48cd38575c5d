"""A cache on a disk that has lost some of it: the rest serves, the lost is fetched again."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from support.data_trees import bring, tree_of
from wattline_runtime.data.cache.examine import problems_of
from wattline_runtime.data.cache.folder import CacheFolder
from wattline_runtime.data.cache.index import BASE_BYTES

KEPT, LOST = tree_of({"a": b"kept"}), tree_of({"a": b"lost", "b/c": b"kept"})
LIMIT = BASE_BYTES + 1_000_000


def opened(tmp_path: Path) -> CacheFolder:
    return CacheFolder(tmp_path / "cache", LIMIT)


def manifest(cache: Path) -> Path:
    return cache / "manifests" / LOST.sha256


def cut_off(cache: Path) -> None:
    manifest(cache).chmod(0o600)
    manifest(cache).write_bytes(b"")


def bit_flipped(cache: Path) -> None:
    data = manifest(cache).read_bytes()
    manifest(cache).chmod(0o600)
    manifest(cache).write_bytes(data.replace(b'"b/c"', b'"b/d"'))


def no_manifest(cache: Path) -> None:
    manifest(cache).unlink()


def no_object(cache: Path) -> None:
    digest = sha256(b"lost").hexdigest()
    (cache / "objects" / digest[:2] / digest).unlink()


@pytest.mark.parametrize("lose", [cut_off, bit_flipped, no_manifest, no_object])
def test_a_version_that_is_damaged_at_the_start_is_fetched_again_and_no_other(
    tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    folder = opened(tmp_path)
    for tree in (KEPT, LOST):
        assert bring(folder, tree, set(), 1_000.0, how="all")
    folder.close()
    lose(tmp_path / "cache")
    folder = opened(tmp_path)
    assert set(folder.index.versions) == {KEPT.sha256}
    assert not folder.index.has_manifest(LOST.sha256)
    assert bring(folder, LOST, {KEPT.sha256}, 1_001.0, how="all")
    assert set(folder.index.versions) == {KEPT.sha256, LOST.sha256}
    folder.remove(LOST.sha256)
    folder.close()
    assert list(problems_of(tmp_path / "cache")) == []


def test_a_manifest_that_was_not_on_disk_yet_is_gone_when_the_host_has_restarted(
    tmp_path: Path,
) -> None:
    folder = opened(tmp_path)
    bring(folder, KEPT, set(), 1_000.0, how="all")
    bring(folder, LOST, set(), 1_000.0, how="half")
    folder.close()
    folder = opened(tmp_path)
    assert folder.index.has_manifest(LOST.sha256)
    folder.close()
    (tmp_path / "cache/boot").write_text("another boot", encoding="ascii")
    folder = opened(tmp_path)
    assert not folder.index.has_manifest(LOST.sha256)
    assert not manifest(tmp_path / "cache").exists()
    assert set(folder.index.versions) == {KEPT.sha256}
    folder.close()
