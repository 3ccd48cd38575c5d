"""Copies of a task's checkpoints in a store: which one, what stays, and what a kill leaves."""

import os
import random
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from support.task_home import as_first_attempt
from wattline import task
from wattline.task.manifest import check
from wattline_protocol.wire.task_reports.checkpoints import StoredCheckpoint
from wattline_runtime.data.checkpoints import KEPT, copy_newest
from wattline_runtime.data.stores.below import Below
from wattline_runtime.data.stores.interface import Store, StoreAway, StoreRefused
from wattline_runtime.data.stores.local import LocalStore
from wattline_runtime.data.tree import TreeUnsettled
from wattline_runtime.data.verify import verify_version


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    as_first_attempt(tmp_path, monkeypatch)
    monkeypatch.setenv("WATTLINE_ATTEMPT", "1")
    return tmp_path / "ckpt"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "store").mkdir()
    return Below(LocalStore(str(tmp_path / "store")), "checkpoints/ada/17")


def save(step: int, keep: int = 3) -> None:
    task.save(step, f"weights of {step}".encode(), keep=keep)


def newest(store: Store, home: Path, attempt: int = 1, recorded: object = None) -> StoredCheckpoint:
    assert recorded is None or isinstance(recorded, StoredCheckpoint)
    found = copy_newest(store, home, attempt, recorded).newest
    assert found is not None
    return found


def test_the_newest_is_copied_and_the_one_on_record_is_not_copied_again(
    store: Store, home: Path
) -> None:
    assert copy_newest(store, home, 1, None) == (None, 0, "")
    save(10)
    save(20)
    first = newest(store, home)
    assert (first.step, first.number, first.saved_by, first.stored_by) == (20, 2, 1, 1)
    assert verify_version(Below(store, "1"), first.sha256).ok
    keys = set(store.keys(""))
    assert copy_newest(store, home, 1, first) == (first, 0, "")
    assert set(store.keys("")) == keys
    assert not list(home.glob(".copying-*"))


def test_a_damaged_one_is_passed_over_and_counts_as_behind(store: Store, home: Path) -> None:
    save(10)
    save(20)
    (home / "00000002-step-20/data").write_bytes(b"weights of 2O")
    found = copy_newest(store, home, 1, None)
    assert found.newest is not None
    assert (found.newest.step, found.behind) == (10, 1)
    assert found.left.startswith("the checkpoint of step 20 is not copied: data does not have")
    (home / "00000001-step-10/data").unlink()
    found = copy_newest(store, home, 1, None)
    assert (found.newest, found.behind) == (None, 2)


def test_a_directory_that_is_not_mounted_is_not_taken_for_one_without_checkpoints(
    store: Store, home: Path
) -> None:
    save(10)
    away = home.rename(home.with_name("away"))
    assert copy_newest(store, home, 1, None) == (None, 0, ""), "its owner has removed it"
    with pytest.raises(StoreAway, match="is its file system mounted"):
        copy_newest(store, home / "unmounted/17", 1, None)
    away.rename(home)
    assert newest(store, home).step == 10


def test_a_checkpoint_that_cannot_be_read_now_is_not_passed_over(home: Path, store: Store) -> None:
    save(10)
    save(20)
    data = home / "00000002-step-20/data"

    class Disturbed(LocalStore):
        def write(self, key: str, chunks: Iterable[bytes]) -> None:
            data.write_bytes(b"longer weights of 20")
            super().write(key, chunks)

    disturbed = Below(Disturbed(str(home.parent / "store")), "checkpoints/ada/17")
    with pytest.raises(TreeUnsettled):
        copy_newest(disturbed, home, 1, None)
    data.write_bytes(b"weights of 20")
    assert newest(store, home).step == 20


def test_a_directory_of_an_attempt_before_the_stored_one_is_old(
    store: Store, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(10)
    of_1 = newest(store, home)
    elsewhere = home.with_name("elsewhere")
    monkeypatch.setenv("WATTLINE_CHECKPOINT_DIR", str(elsewhere))
    monkeypatch.setenv("WATTLINE_ATTEMPT", "2")
    save(30)
    of_2 = newest(store, elsewhere, 2, of_1)
    assert (of_2.number, of_2.stored_by) == (1, 2)
    assert of_2.order > of_1.order
    assert copy_newest(store, home, 3, of_2) == (of_2, 0, ""), "nothing of it is newer"
    assert verify_version(Below(store, "1"), of_1.sha256).ok, "it may be read until 2 is on record"
    save(40)
    newest(store, elsewhere, 2, of_2)
    assert {key.partition("/")[0] for key in store.keys("")} == {"2"}


def test_what_stays_in_the_store(store: Store, home: Path) -> None:
    recorded = None
    for step in range(10, 90, 10):
        save(step, keep=1)
        recorded = newest(store, home, recorded=recorded)
    kept = [verify_version(Below(store, "1"), key.rpartition("/")[2]) for key in manifests(store)]
    assert [one.ok for one in kept] == [True] * len(kept)
    assert len(kept) == len(list(store.keys("1/saves/"))) == KEPT
    save(90, keep=1)
    behind = newest(store, home, recorded=recorded)
    assert verify_version(Below(store, "1"), behind.sha256).ok


def test_a_key_that_is_no_number_of_an_attempt_stops_no_copy(store: Store, home: Path) -> None:
    save(10)
    recorded = newest(store, home)
    for name in ("²", "1" * 200):  # digits, but no number; a number of which no attempt is the one
        store.write(f"{name}/planted", [b"x"])
    save(20)
    assert newest(store, home, recorded=recorded).step == 20


def manifests(store: Store) -> list[str]:
    return list(store.keys("1/manifests/"))


def test_keys_that_may_not_delete_stop_no_copy(
    store: Store, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StoreRefused("no permission")

    save(10)
    Below(store, "1").write("objects/ab/abcd", [b"left by a killed copy"])
    monkeypatch.setattr(Below, "delete", refuse)
    found = copy_newest(store, home, 1, None)
    assert found.newest is not None
    assert found.left == "older copies stay: no permission"


def test_a_checkpoint_that_its_task_removes_meanwhile_is_copied_whole(
    store: Store, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(10)

    def remove_and_check(folder: Path, step: int, *, verify: bool) -> object:
        for later in range(20, 60, 10):
            save(later)
        assert not (home / "00000001-step-10").exists()
        return check(folder, step, verify=verify)

    monkeypatch.setattr("wattline_runtime.data.checkpoints.check", remove_and_check)
    found = copy_newest(store, home, 1, None)
    assert found.newest is not None
    assert found.newest.step == 10
    assert verify_version(Below(store, "1"), found.newest.sha256).ok


def test_a_copy_of_a_fetch_process_that_was_killed_is_waited_for(
    store: Store, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(10)
    write = LocalStore.write

    def copy_again_and_write(*args: Any) -> None:
        with pytest.raises(StoreAway, match="an earlier copy"):
            copy_newest(store, home, 1, None)
        write(*args)

    monkeypatch.setattr(LocalStore, "write", copy_again_and_write)
    assert newest(store, home).step == 10


def test_killed_at_any_moment_whatever_is_recorded_is_whole(
    store: Store, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy is killed before one of its writes or deletions; the next one finds the rest."""
    rng, recorded = random.Random(3), None
    for step in range(1, 25):
        save(step, keep=2)
        child = os.fork()
        if not child:
            left = rng.randrange(8)
            for name in ("write", "delete"):
                call = getattr(LocalStore, name)
                monkeypatch.setattr(LocalStore, name, _killing(call, [left]))
            with suppress(Exception):
                copy_newest(store, home, 1, recorded)
            os._exit(0)
        os.waitpid(child, 0)
        rng.random()
        records = {key.rpartition("-")[2] for key in store.keys("1/saves/")}
        whole = [sha for sha in records if not verify_version(Below(store, "1"), sha).ok]
        assert not whole, step
        if rng.random() < 0.5:
            recorded = newest(store, home, recorded=recorded)
            assert recorded.step == step
            assert verify_version(Below(store, "1"), recorded.sha256).ok


def _killing(call: object, left: list[int]) -> object:
    def kill_or_call(*args: object) -> object:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        assert callable(call)
        return call(*args)

    return kill_or_call
