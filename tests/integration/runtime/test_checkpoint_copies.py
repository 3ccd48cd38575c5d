"""Checkpoints that the fetch process of a node copies into a bucket: kills, and a server away."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from support.programs.fetch_process import Fetcher, fetcher, lines_of
from support.programs.s3_server import BUCKET, S3Server
from support.task_home import as_first_attempt
from wattline import task
from wattline_protocol.data.requests import DataPlace
from wattline_protocol.ids import UnixTime
from wattline_protocol.wire.agents.data_messages import (
    CheckpointsStored,
    CheckpointsToStore,
    DataToHold,
    HoldOrder,
)
from wattline_runtime.data.stores.below import Below
from wattline_runtime.data.stores.interface import StoreKeys
from wattline_runtime.data.stores.open_store import open_store
from wattline_runtime.data.verify import verify_version

PREFIX = "checkpoints/ada/17"
KILLS = 8


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as made:
        yield made


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    as_first_attempt(tmp_path, monkeypatch)
    monkeypatch.setenv("WATTLINE_ATTEMPT", "1")
    monkeypatch.setenv("WATTLINE_CHECKPOINT_DIR", str(tmp_path / "checkpoints/17"))
    return tmp_path / "checkpoints"


def save(step: int) -> None:
    task.save(step, random.Random(step).randbytes(200_000))


def ordered(server: S3Server, root: Path, step: int, **changes: object) -> CheckpointsToStore:
    """The order after the save of a step was reported."""
    made = CheckpointsToStore(
        *(17, 1, PREFIX),
        store=f"s3://{BUCKET}",
        endpoint=server.endpoint,
        user="ada",
        secret="store",
        root=str(root),
        saved_unix_s=UnixTime(float(step)),
    )
    return msgspec.structs.replace(made, **changes)


def send(one: Fetcher, order: CheckpointsToStore, keys: StoreKeys) -> None:
    one.send(HoldOrder((), to_store=(order,)), store=lines_of(keys))


def stored(step: int) -> Callable[[CheckpointsStored], bool]:
    def is_so(one: CheckpointsStored) -> bool:
        return (
            one.saved_unix_s == UnixTime(float(step))
            and one.newest is not None
            and one.newest.step == step
        )

    return is_so


def test_a_checkpoint_is_stored_while_its_server_and_its_keys_come_late(
    server: S3Server, root: Path, tmp_path: Path
) -> None:
    save(10)
    wrong = StoreKeys("AKIAWRONGWRONGWRONG1", "marker-of-a-secret-key")
    with fetcher(tmp_path) as one:
        away = ordered(server, root, 10, endpoint="http://127.0.0.1:9")
        send(one, away, wrong)
        assert "no answer" in one.until_stored(lambda one: bool(one.detail)).detail
        send(one, ordered(server, root, 10), wrong)
        refused = one.until_stored(lambda one: "refuses" in one.detail)
        assert refused.newest is None
        send(one, ordered(server, root, 10), server.writer)
        first = one.until_stored(stored(10)).newest
        save(20)
        save(30)
        send(one, ordered(server, root, 30, recorded=first), server.writer)
        second = one.until_stored(stored(30))
        assert (second.behind, second.detail) == (0, "")
        assert wrong.secret not in one.said.decode() + one.output()
    with fetcher(tmp_path) as another:
        assert second.newest is not None
        place = f"s3://{BUCKET}/{PREFIX}/1"
        wanted = DataToHold(
            *(second.newest.sha256, "checkpoint", 30, second.newest.bytes),
            store=place,
            endpoint=server.endpoint,
            user="ada",
            secret="store",
            asked=1,
        )
        another.order(wanted, store=lines_of(server.reader))
        another.until("ready")
    copy = tmp_path / "cache/versions" / second.newest.sha256
    assert (copy / "data").read_bytes() == random.Random(30).randbytes(200_000)
    assert (copy / "manifest.jsonl").is_file()


def test_a_fetch_process_killed_at_any_moment_records_whole_copies_only(
    server: S3Server, root: Path, tmp_path: Path
) -> None:
    rng, recorded = random.Random(4), None
    place = DataPlace(f"s3://{BUCKET}", "", server.endpoint)
    part = Below(open_store(place, server.reader), f"{PREFIX}/1")
    for step in range(100, 100 + KILLS):
        save(step)
        with fetcher(tmp_path) as one:
            one.send(
                HoldOrder((), to_store=(ordered(server, root, step, recorded=recorded),)),
                store=lines_of(server.writer),
            )
            if rng.random() < 0.5:
                recorded = one.until_stored(stored(step)).newest
            else:
                one.kill_after(rng.uniform(0.3, 1.5))
        for key in part.keys("saves/"):
            assert verify_version(part, key.rpartition("-")[2]).ok, step
    assert recorded is not None
