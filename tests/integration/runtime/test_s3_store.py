"""Versions in a bucket, against an S3 server that checks keys."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.programs.s3_server import BUCKET, S3Server
from wattline_protocol.data.requests import DataPlace
from wattline_runtime.data.add import NewVersion, Stored
from wattline_runtime.data.copy_out import copy_out
from wattline_runtime.data.delete import Deleted, delete_version
from wattline_runtime.data.manifest import object_key
from wattline_runtime.data.stores.interface import (
    NotInStore,
    Store,
    StoreAway,
    StoreKeys,
    StoreRefused,
)
from wattline_runtime.data.stores.open_store import keys_of, open_store
from wattline_runtime.data.tree import TreeError
from wattline_runtime.data.verify import verify_version

LARGE = 20 * 1024 * 1024
"""Sent in several parts."""


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as started:
        yield started


def opened(
    server: S3Server, keys: StoreKeys, bucket: str = BUCKET, prefix: str = "of/lab"
) -> Store:
    return open_store(DataPlace(f"s3://{bucket}/{prefix}", "", server.endpoint), keys)


def test_a_version_in_a_bucket(server: S3Server, tmp_path: Path) -> None:
    store = opened(server, server.writer)
    for number in range(20):
        (tmp_path / f"{number} ü.csv").write_bytes(b"%04d" % number * 300)
    (tmp_path / "large").write_bytes(b"large" * (LARGE // 5))
    with NewVersion(tmp_path) as first:
        assert first.put(store).objects == 21
        assert first.put(store) == Stored(0, 0)
    assert verify_version(opened(server, server.reader), first.tree.sha256).ok
    (tmp_path / "3 ü.csv").write_bytes(b"changed")
    with NewVersion(tmp_path) as second:
        assert second.put(store).objects == 1
    assert delete_version(store, first.tree.sha256, tuple, lambda: None) == Deleted(1, 1_200)
    assert verify_version(store, second.tree.sha256).ok
    store.delete(object_key(hashlib.sha256(b"changed").hexdigest()))
    (problem,) = verify_version(store, second.tree.sha256).problems
    assert problem.path == "3 ü.csv"
    assert not list(opened(server, server.writer, prefix="of/others").keys("manifests/"))


def test_files_of_a_bucket_are_copied_out(server: S3Server, tmp_path: Path) -> None:
    store = opened(server, server.writer, prefix="plain")
    with pytest.raises(TreeError, match="plain holds no file"):
        copy_out(store, tmp_path)
    store.write("a/one ü.csv", [b"1,2\n"])
    store.write("two.csv", [b"3\n"])
    copy_out(store, tmp_path)
    found = {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*.csv")}
    assert found == {"a/one ü.csv": b"1,2\n", "two.csv": b"3\n"}
    store.write("a", [b"a file as well"])
    with pytest.raises(TreeError, match="is a file and a folder"):
        copy_out(store, tmp_path / "again")


def test_an_upload_that_is_broken_off_leaves_nothing(server: S3Server) -> None:
    store = opened(server, server.writer)

    def broken() -> Iterator[bytes]:
        for _ in range(3):
            yield b"x" * LARGE
        raise RuntimeError("read error")

    with pytest.raises(RuntimeError, match="read error"):
        store.write("objects/aa/broken", broken())
    assert store.size("objects/aa/broken") is None


def test_keys_that_are_refused_are_never_shown(server: S3Server) -> None:
    unknown = StoreKeys("AKIAEXAMPLEUNKNOWN00", "wJalrXUtnFEMIsecret")
    forged = StoreKeys(server.writer.key_id, "another/secret")
    assert keys_of({"AWS_ACCESS_KEY_ID": "x"}) is None
    shown = [repr(unknown), str(unknown)]
    with pytest.raises(StoreRefused, match="set AWS_ACCESS_KEY_ID") as missing:
        open_store(DataPlace(f"s3://{BUCKET}", ""), None)
    shown.append(str(missing.value))
    for keys in (unknown, forged):
        store = opened(server, keys)
        for act in (
            lambda store=store: store.size("objects/aa/a"),
            lambda store=store: list(store.read("objects/aa/a")),
            lambda store=store: store.write("objects/aa/a", [b"x"]),
            lambda store=store: list(store.keys("objects/")),
            lambda store=store: store.delete("objects/aa/a"),
        ):
            with pytest.raises(StoreRefused, match="refuses these keys") as caught:
                act()
            assert caught.value.__suppress_context__
            shown.append(str(caught.value))
    parts = (unknown.key_id, unknown.secret, forged.key_id, forged.secret)
    assert not re.search("|".join(map(re.escape, parts)), "\n".join(shown))


def test_a_reader_may_not_write(server: S3Server) -> None:
    store = opened(server, server.reader)
    with pytest.raises(StoreRefused, match="lack the permission"):
        store.write("objects/aa/a", [b"x"])
    with pytest.raises(NotInStore):
        list(store.read("objects/aa/missing"))


def test_a_bucket_that_does_not_exist(server: S3Server) -> None:
    store = opened(server, server.writer, bucket="no-such-bucket")
    with pytest.raises(StoreRefused, match="no-such-bucket"):
        store.write("objects/aa/a", [b"x"])
    with pytest.raises(StoreRefused, match="there is no such bucket; make it"):
        list(store.keys("objects/"))


def test_a_server_that_is_away(server: S3Server) -> None:
    away = S3Server.__new__(S3Server)
    away.endpoint = "http://127.0.0.1:1"
    store = opened(away, server.writer)
    with pytest.raises(StoreAway, match=r"no answer from http://127\.0\.0\.1:1, or") as caught:
        store.size("objects/aa/a")
    assert server.writer.key_id not in str(caught.value)
