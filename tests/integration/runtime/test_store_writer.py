"""The child that publishes folders of a node: in a bucket, as an account, and killed."""

import os
import random
import signal
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from threading import Timer

import pytest

from support.programs.s3_server import BUCKET, S3Server
from wattline_protocol.data.requests import DataPlace
from wattline_runtime.data.fetch.frames import ReadFailed
from wattline_runtime.data.fetch.opening import Opening
from wattline_runtime.data.fetch.writer import StoreWriter
from wattline_runtime.data.stores.below import Below
from wattline_runtime.data.stores.interface import StoreKeys
from wattline_runtime.data.stores.local import LocalStore
from wattline_runtime.data.stores.open_store import open_store
from wattline_runtime.data.verify import verify_version

KILLS = 10


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as made:
        yield made


def secret_of(keys: StoreKeys) -> bytes:
    return f"AWS_ACCESS_KEY_ID={keys.key_id}\nAWS_SECRET_ACCESS_KEY={keys.secret}\n".encode()


def folder_of(where: Path, files: int = 3) -> Path:
    (where / "part").mkdir(parents=True)
    for number in range(files):
        (where / f"part/{number}.bin").write_bytes(random.Random(number).randbytes(50_000))
    return where


def test_a_folder_becomes_a_version_in_a_bucket(server: S3Server, tmp_path: Path) -> None:
    folder, place = folder_of(tmp_path / "out"), DataPlace(f"s3://{BUCKET}", "", server.endpoint)
    with closing(StoreWriter(Opening(place, "", secret_of(server.writer)))) as writer:
        put = writer.put_folder(str(folder), "runs/17")
        again = writer.put_folder(str(folder), "runs/17")
        (folder / "link").symlink_to("/etc/passwd")
        with pytest.raises(ReadFailed, match=r"link is a link to /etc/passwd, outside"):
            writer.put_folder(str(folder), "runs/18")
    assert (put.files, put.bytes, again.sha256) == (3, 150_000, put.sha256)
    store = open_store(place, server.reader)
    assert verify_version(Below(store, "runs/17"), put.sha256).ok
    assert not list(Below(store, "runs/18").keys("manifests/"))
    (folder / "link").unlink()
    with (
        closing(StoreWriter(Opening(place, "", secret_of(server.reader)))) as writer,
        pytest.raises(ReadFailed) as refused,
    ):
        writer.put_folder(str(folder), "runs/19")
    assert refused.value.why == "refused"
    assert server.reader.secret not in refused.value.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another account")
def test_an_account_publishes_what_it_may_read(tmp_path: Path) -> None:
    folder, store = folder_of(tmp_path / "out"), tmp_path / "store"
    store.mkdir()
    for one in (tmp_path, *tmp_path.parents):
        if one.stat().st_uid == os.geteuid() and one != Path("/"):
            one.chmod(one.stat().st_mode | 0o011)
    store.chmod(0o777)
    folder.chmod(0o700)
    opening = Opening(DataPlace(str(store), ""), "nobody")
    with closing(StoreWriter(opening)) as writer:
        with pytest.raises(ReadFailed, match="Permission denied"):
            writer.put_folder(str(folder))
        folder.chmod(0o755)
        put = writer.put_folder(str(folder))
    assert verify_version(LocalStore(str(store)), put.sha256).ok


def test_a_killed_writer_leaves_whole_versions_or_none(tmp_path: Path) -> None:
    """At random moments of its work."""
    store, rng = tmp_path / "store", random.Random(5)
    store.mkdir()
    opening = Opening(DataPlace(str(store), ""))
    for number in range(KILLS):
        folder = folder_of(tmp_path / f"out-{number}", files=4 + number)
        with closing(StoreWriter(opening)) as writer:
            # The moment of the kill, not a wait.
            killer = Timer(rng.uniform(0.2, 0.8), os.kill, (writer.pid, signal.SIGKILL))
            killer.start()
            with suppress(ReadFailed):
                writer.put_folder(str(folder))
            killer.join()
        found = LocalStore(str(store))
        for key in found.keys("manifests/"):
            assert verify_version(found, key.rpartition("/")[2]).ok
