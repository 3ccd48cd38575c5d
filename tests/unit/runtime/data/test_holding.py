"""The list of a node against users whose stores, readers or manifests are hostile."""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import msgspec
import psutil
import pytest
from msgspec.structs import replace

from support.data_trees import Tree, put, tree_of
from wattline_protocol.data.references import checkpoint_set
from wattline_protocol.wire.agents.data_messages import (
    DataHeld,
    DataToHold,
    FetchOrder,
    HoldOrder,
)
from wattline_runtime.data.cache import folder
from wattline_runtime.data.cache.folder import CacheFolder
from wattline_runtime.data.cache.index import BASE_BYTES
from wattline_runtime.data.fetch import account_child, holding, turns
from wattline_runtime.data.fetch.bring import Bringing
from wattline_runtime.data.fetch.holding import MOST_OF_USER, Holding
from wattline_runtime.data.fetch.opening import Opening
from wattline_runtime.data.fetch.pace import Pace
from wattline_runtime.data.fetch.turns import THREADS
from wattline_runtime.data.manifest import Entry, entry_line, head_line, manifest_key, object_key

WITHIN_S = 60.0


@dataclass
class Rig:
    """A cache with its threads, in this process; readers are processes."""

    path: Path
    pace: Pace = field(default_factory=lambda: Pace(0.0))

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self.folder = CacheFolder(self.path / "cache", BASE_BYTES + 10_000_000)
        self.holding = Holding(self.folder, self.pace, self._wake)

    def store(self, name: str, *trees: Tree) -> Path:
        path = self.path / name
        path.mkdir()
        for tree in trees:
            put(path, tree)
        return path

    def _wake(self, *, is_urgent: bool) -> None:
        with self._changed:
            self._changed.notify_all()

    def hold(self, *versions: DataToHold) -> None:
        self.holding.obey(FetchOrder(HoldOrder(versions)))

    def held(self, tree: Tree) -> DataHeld:
        return next(one for one in self.holding.report().held if one.manifest_sha256 == tree.sha256)

    def wait(self, is_so: Callable[[], bool]) -> None:
        until = time.monotonic() + WITHIN_S
        with self._changed:
            while not is_so():
                assert time.monotonic() < until, self.holding.report()
                self._changed.wait(0.1)


def wanted(tree: Tree, store: Path, user: str = "ada", asked: int = 1) -> DataToHold:
    return DataToHold(tree.sha256, user, 1, tree.bytes, asked, store=str(store), user=user)


@pytest.fixture
def stop_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], set[int]]:
    """Stops the next readers of this test's stores, as tasks of their account may; their process
    ids follow. Lists of earlier tests may still be tried again: their readers are left alone.
    Later readers have all the time that they need, however busy the machine is."""
    stall_s = account_child.STALL_S

    def stop(count: int) -> set[int]:
        stopped: set[int] = set()
        send = account_child.AccountChild.send

        def stop_and_send(self: account_child.AccountChild, request: msgspec.Struct) -> None:
            opens = isinstance(request, Opening) and request.place.store.startswith(str(tmp_path))
            if opens and len(stopped) < count:
                os.kill(self.pid, signal.SIGSTOP)
                stopped.add(self.pid)
                if len(stopped) == count:
                    monkeypatch.setattr(account_child, "STALL_S", stall_s)
            send(self, request)

        monkeypatch.setattr(account_child.AccountChild, "send", stop_and_send)
        return stopped

    return stop


def test_a_user_whose_readers_are_stopped_delays_no_other(
    tmp_path: Path, stop_readers: Callable[[int], set[int]]
) -> None:
    rig = Rig(tmp_path)
    trees = [tree_of({"a": f"{number}".encode()}) for number in range(MOST_OF_USER + 2)]
    store, stopped = rig.store("store", *trees), stop_readers(MOST_OF_USER)
    of_eve = [wanted(tree, store, "eve") for tree in trees[1:]]
    rig.hold(*of_eve)
    rig.wait(lambda: len(stopped) == MOST_OF_USER)
    rig.hold(*of_eve, wanted(trees[0], store))
    rig.wait(lambda: rig.held(trees[0]).state == "ready")
    assert not any(rig.held(tree).state == "ready" for tree in trees[1:])
    for pid in stopped:
        os.kill(pid, signal.SIGKILL)
    rig.wait(lambda: all(rig.held(tree).state == "ready" for tree in trees))


def test_a_checkpoint_is_tried_again_until_its_store_no_longer_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "FIRST_RETRY_S", 0.01)
    rig, tree, data = Rig(tmp_path), tree_of({"weights": b"1"}), tree_of({"a": b"2"})
    store = rig.store("store", data)
    (store / manifest_key(tree.sha256)).parent.mkdir(parents=True, exist_ok=True)
    absent = {"account": "no-such-account"}
    checkpoint = replace(wanted(tree, store), name=checkpoint_set(1))
    rig.hold(replace(checkpoint, **absent), replace(wanted(data, store), **absent))
    rig.wait(lambda: rig.held(data).state == "failed" and bool(rig.held(tree).detail))
    assert rig.held(tree).state != "failed"
    assert rig.held(tree).detail.startswith("its store refuses to be read: ")
    rig.hold(checkpoint)
    rig.wait(lambda: rig.held(tree).state == "failed")
    assert rig.held(tree).detail == "its store no longer has it"


def test_users_that_conspire_delay_no_other(
    tmp_path: Path, stop_readers: Callable[[int], set[int]]
) -> None:
    rig = Rig(tmp_path)
    trees = [tree_of({"a": f"{number}".encode()}) for number in range(2 * MOST_OF_USER + 1)]
    usual = MOST_OF_USER + 1
    store, stopped = rig.store("store", *trees), stop_readers(usual)
    hung = [wanted(tree, store, "eve" if at % 2 else "mallory") for at, tree in enumerate(trees)]
    rig.hold(*hung[1:])
    rig.wait(lambda: len(stopped) == usual)
    rig.hold(*hung[1:], wanted(trees[0], store))
    rig.wait(lambda: rig.held(trees[0]).state == "ready")
    assert not any(rig.held(tree).state == "ready" for tree in trees[1:])
    for pid in stopped:
        os.kill(pid, signal.SIGKILL)


def test_a_reader_that_sends_nothing_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_readers: Callable[[int], set[int]]
) -> None:
    monkeypatch.setattr(account_child, "STALL_S", 1.0)
    rig, tree = Rig(tmp_path), tree_of({"a": b"content"})
    store, stopped = rig.store("store", tree), stop_readers(1)
    rig.hold(wanted(tree, store))
    rig.wait(lambda: rig.held(tree).state == "ready")
    rig.wait(lambda: not any(map(psutil.pid_exists, stopped)))


def test_a_version_that_waits_for_room_says_so_until_it_waits_for_its_store(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path)
    first, second = tree_of({"a": bytes(6_000_000)}), tree_of({"b": bytes(5_000_000)})
    store = rig.store("store", first, second)
    rig.hold(wanted(first, store))
    rig.wait(lambda: rig.held(first).state == "ready")
    rig.hold(wanted(first, store), wanted(second, store))
    rig.wait(lambda: rig.held(second).is_full)
    assert "the cache is full" in rig.held(second).detail
    store.rename(tmp_path / "away")
    rig.hold(wanted(second, store))
    rig.wait(lambda: "its store is away" in rig.held(second).detail)
    assert not rig.held(second).is_full


def test_a_place_that_fails_while_the_list_names_another_one_fails_nothing(tmp_path: Path) -> None:
    tree = tree_of({"a": b"content"})

    class Changing(Pace):
        """At the last chunk of the second try the list names the other store."""

        chunks = 0

        def wait(self, count_bytes: int) -> None:
            self.chunks += 1
            if self.chunks == 3:
                rig.hold(wanted(tree, good, "ada", asked=2))

    rig = Rig(tmp_path, Changing(0.0))
    bad, good = rig.store("bad", tree), rig.store("good", tree)
    (bad / object_key(sha256(b"content").hexdigest())).write_bytes(b"CONTENT")
    rig.hold(wanted(tree, bad, "eve"))

    def is_ready() -> bool:
        held = rig.held(tree)
        assert held.state != "failed"
        return held.state == "ready"

    rig.wait(is_ready)
    assert rig.held(tree).asked == 2


def test_places_that_fail_in_turn_are_tried_no_more_often_than_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []

    def retry_s(tries: int) -> float:
        counted.append(tries)
        return 0.01

    monkeypatch.setattr(holding, "retry_s", retry_s)
    rig, tree = Rig(tmp_path), tree_of({"a": b"content"})
    away = [wanted(tree, tmp_path / "away", user) for user in ("eve", "ada")]
    for number in range(4):
        rig.hold(away[number % 2])
        rig.wait(lambda: bool(rig.held(tree).detail))
    assert len(counted) >= 4
    assert counted.count(0) == 1, "no place is counted from the beginning"


def test_a_manifest_with_other_sizes_is_refused_and_drops_no_content_of_others(
    tmp_path: Path,
) -> None:
    rig, tree = Rig(tmp_path), tree_of({"a": b"content"})
    digest = sha256(b"content").hexdigest()
    for files in ({"x": 8}, {"x": 7, "y": 8}):
        lines = b"".join(entry_line(Entry(size, path, digest)) for path, size in files.items())
        lying = Tree({}, head_line(len(files), sum(files.values())) + lines)
        store = rig.store(f"store-{len(files)}", tree)
        (store / manifest_key(lying.sha256)).write_bytes(lying.manifest)
        rig.hold(wanted(tree, store))
        rig.wait(lambda: rig.held(tree).state == "ready")
        rig.hold(wanted(tree, store), wanted(lying, store, "eve"))
        rig.wait(lambda one=lying: rig.held(one).state == "failed")  # type: ignore[misc]
        assert "in its manifest" in rig.held(lying).detail
        assert rig.held(tree).state == "ready"
        assert (rig.folder.version_path(tree.sha256) / "a").read_bytes() == b"content"


def test_all_versions_of_a_damaged_content_are_fetched_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    one, two = tree_of({"a": b"content"}), tree_of({"b": b"content", "c": b"more"})
    store = rig.store("store", one, two)
    for tree in (one, two):
        rig.hold(wanted(tree, store))
        rig.wait(lambda tree=tree: rig.held(tree).state == "ready")  # type: ignore[misc]
    rig.hold(wanted(one, store))
    rig.wait(lambda: rig.held(one).asked == 1 and rig.held(one).state == "ready")
    path = rig.folder.version_path(two.sha256) / "b"
    path.chmod(0o644)
    path.write_bytes(b"changed")
    rig.hold(wanted(one, store), wanted(two, store))
    rig.wait(lambda: all(rig.held(tree).state == "ready" for tree in (one, two)))
    for tree in (one, two):
        assert not rig.folder.damaged(tree.sha256)


def test_a_list_of_files_that_the_disk_has_damaged_is_fetched_again(tmp_path: Path) -> None:
    rig, tree = Rig(tmp_path), tree_of({"a": b"content"})
    store = rig.store("store", tree)
    rig.folder.put_manifest(tree.sha256, len(tree.manifest), [tree.manifest])
    damaged = rig.folder.path / "manifests" / tree.sha256
    damaged.chmod(0o600)
    damaged.write_bytes(b"")
    rig.hold(wanted(tree, store))
    rig.wait(lambda: rig.held(tree).state in ("ready", "failed"))
    assert rig.held(tree).state == "ready", rig.held(tree)


def test_a_manifest_with_folders_beyond_the_memory_for_them_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "MAX_FOLDERS_BYTES", 10_000)
    rig = Rig(tmp_path)
    few, many = (tree_of({f"{at}/" + "a/" * 9 + "b": b"" for at in range(n)}) for n in (2, 20))
    store = rig.store("store", few, many)
    rig.hold(wanted(few, store), wanted(many, store))
    rig.wait(lambda: (rig.held(few).state, rig.held(many).state) == ("ready", "failed"))
    assert "too many folders" in rig.held(many).detail


def test_a_fault_with_one_version_stops_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees = [tree_of({"a": f"{number}".encode()}) for number in range(THREADS + 1)]
    bad = {tree.sha256 for tree in trees[1:]}
    run = Bringing.run

    def run_or_fail(self: Bringing, opening: Opening) -> None:
        if self._version.manifest_sha256 in bad:
            raise KeyError("fault")
        run(self, opening)

    monkeypatch.setattr(Bringing, "run", run_or_fail)
    rig = Rig(tmp_path)
    store = rig.store("store", *trees)
    rig.hold(*(wanted(tree, store) for tree in trees[1:]))
    rig.wait(lambda: all("KeyError" in rig.held(tree).detail for tree in trees[1:]))
    bad.clear()
    rig.hold(*(wanted(tree, store) for tree in trees))
    rig.wait(lambda: all(rig.held(tree).state == "ready" for tree in trees))
