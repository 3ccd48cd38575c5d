"""The fetch process of a node as a process: buckets, keys, accounts and stores that are away."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from support.data_trees import Tree, put, tree_of
from support.programs.fetch_process import fetcher, lines_of
from support.programs.s3_server import BUCKET, S3Server
from wattline_protocol.data.requests import DataPlace
from wattline_protocol.ids import AttemptNo, JobId, TaskNo, TaskRef
from wattline_protocol.wire.agents.data_messages import DataToHold, HoldOrder, OutputToPublish
from wattline_runtime.data.manifest import manifest_key, object_key
from wattline_runtime.data.stores.interface import StoreKeys
from wattline_runtime.data.stores.local import LocalStore
from wattline_runtime.data.stores.open_store import open_store
from wattline_runtime.data.verify import verify_version

TREE = tree_of({"a.csv": b"1,2\n", "part/b.bin": b"b" * 300_000, "part/c.bin": b""})
PATIENCE_S = 60.0
KILLS = 6


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as made:
        place = DataPlace(f"s3://{BUCKET}", "", made.endpoint)
        store = open_store(place, made.writer)
        for entry in TREE.entries:
            store.write(object_key(entry.sha256), [TREE.files[entry.path]])
        store.write(manifest_key(TREE.sha256), [TREE.manifest])
        yield made


def version(store: str, tree: Tree = TREE, **changes: object) -> DataToHold:
    found = DataToHold(tree.sha256, "set", 1, tree.bytes, store=store, user="ada", asked=1)
    return msgspec.structs.replace(found, **changes)


def in_bucket(server: S3Server, **changes: object) -> DataToHold:
    place = version(f"s3://{BUCKET}", endpoint=server.endpoint, secret="store")
    return msgspec.structs.replace(place, **changes)


def cached(folder: Path) -> dict[str, bytes]:
    root = folder / "cache/versions" / TREE.sha256
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_bucket_is_read_with_the_secret_of_the_user_once_there_is_one(
    server: S3Server, tmp_path: Path
) -> None:
    with fetcher(tmp_path) as one:
        one.order(in_bucket(server))
        detail = one.until("waiting").detail
        assert detail == (
            "its store cannot be opened: "
            "this node has no secret store of ada, of at most 4096 bytes"
        )
        one.order(in_bucket(server), store=lines_of(server.reader))
        one.until("ready")
        assert cached(tmp_path) == TREE.files
    with fetcher(tmp_path) as another:
        another.order(in_bucket(server, listing=5))
        assert another.until("ready").listing == 5


def test_a_wrong_key_fails_at_once_and_is_shown_nowhere(server: S3Server, tmp_path: Path) -> None:
    wrong = StoreKeys("AKIAWRONGWRONGWRONG1", "marker-of-a-secret-key")
    with fetcher(tmp_path) as one:
        one.order(in_bucket(server), store=lines_of(wrong))
        failed = one.until("failed", "waiting")
        assert failed.state == "failed"
        assert "refuses" in failed.detail
        one.order(in_bucket(server, asked=2), store=lines_of(server.reader))
        one.until("ready", asked=2)
        shown = one.said.decode() + one.output() + processes()
        assert wrong.key_id not in shown
        assert wrong.secret not in shown
        assert server.reader.secret not in shown


def processes() -> str:
    """Arguments and variables of all processes that may be read here."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                found.append((path / name).read_bytes().decode(errors="replace"))
            except OSError:  # another user's, or it has ended
                continue
    return "\n".join(found)


def test_a_server_that_is_away_is_tried_again(tmp_path: Path) -> None:
    place = version(f"s3://{BUCKET}", endpoint="http://127.0.0.1:9", secret="store")
    with fetcher(tmp_path) as one:
        one.order(place, store=lines_of(StoreKeys("a", "b")))
        assert "store is away" in one.until("waiting", "failed").detail


def test_bytes_that_are_not_what_was_asked_for_reach_no_cache(tmp_path: Path) -> None:
    store = tmp_path / "store"
    put(store, TREE)
    (entry, *_) = TREE.entries
    (store / object_key(entry.sha256)).write_bytes(b"3,4\n")
    with fetcher(tmp_path) as one:
        one.order(version(str(store)))
        assert "a.csv has another SHA-256" in one.until("failed").detail
    assert cached(tmp_path) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another account")
def test_a_store_is_read_as_the_account_of_the_user(tmp_path: Path) -> None:
    store = tmp_path / "store"
    put(store, TREE)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    with fetcher(tmp_path) as one:
        store.chmod(0o700)
        one.order(version(str(store), account="nobody"))
        assert "the account nobody needs access" in one.until("failed").detail
        store.chmod(0o755)
        one.order(version(str(store), account="nobody", asked=2))
        one.until("ready", asked=2)
    assert cached(tmp_path) == TREE.files


def test_an_output_is_published_whole_though_its_process_is_killed_again_and_again(
    tmp_path: Path,
) -> None:
    """At random moments; a version is in the store completely or not at all."""
    rng, store, folder = random.Random(7), tmp_path / "store", tmp_path / "7.0.1.output"
    store.mkdir()
    folder.mkdir()
    for number in range(60):
        (folder / f"{number:02}.bin").write_bytes(rng.randbytes(20_000))
    name = TaskRef(JobId(7), TaskNo(0), AttemptNo(1))
    hold = HoldOrder(
        (), outputs=(OutputToPublish(name, store=str(store), user="ada", as_of="1.0"),)
    )
    for _ in range(KILLS):
        with fetcher(tmp_path) as one:
            one.send(hold, tasks_dir=str(tmp_path))
            one.kill_after(rng.uniform(0.3, 1.2))
        for key in LocalStore(str(store)).keys("manifests/"):
            assert verify_version(LocalStore(str(store)), key.rpartition("/")[2]).ok
    with fetcher(tmp_path) as one:
        one.send(hold, tasks_dir=str(tmp_path))
        done = one.until_output(lambda output: output.state == "stored").stored
    assert done is not None
    assert (done.files, done.bytes) == (60, 60 * 20_000)
    assert verify_version(LocalStore(str(store)), done.sha256).ok
    assert [one.name for one in (store / "manifests").iterdir()] == [done.sha256]
