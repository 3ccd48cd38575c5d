"""Outputs of attempts on their way into stores: real children, real directories."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil
import pytest

from support.data_trees import put, tree_of
from support.programs.live_scheduler import until
from wattline_protocol.data.checks import DataCheck
from wattline_protocol.ids import AttemptNo, JobId, TaskNo, TaskRef
from wattline_protocol.wire.agents.data_messages import (
    FetchOrder,
    HoldOrder,
    OutputNow,
    OutputToPublish,
)
from wattline_runtime.data.fetch import turns
from wattline_runtime.data.fetch.outputs import Outputs
from wattline_runtime.data.fetch.writer import WRITE_MODULE
from wattline_runtime.data.stores.local import LocalStore
from wattline_runtime.data.verify import verify_version

WITHIN_S = 60.0
REF = TaskRef(JobId(7), TaskNo(0), AttemptNo(1))
FILES = {"a.csv": b"x\n1\n", "deep/b.csv": b"x\n2\n"}


@dataclass
class Rig:
    """One output below a directory, and a store."""

    path: Path
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.outputs = Outputs(self._wake)
        self.folder = self.path / "7.0.1.output"
        self.store = self.path / "store"
        self.store.mkdir()
        for name, data in FILES.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(data)

    def _wake(self, *, is_urgent: bool) -> None:
        with self._changed:
            self._changed.notify_all()

    def order(
        self, *outputs: OutputToPublish, tasks_dir: Path | None = None, **secrets: bytes
    ) -> None:
        known = {f"ada/{name}": value for name, value in secrets.items()}
        order = FetchOrder(HoldOrder((), outputs=outputs), known, str(tasks_dir or self.path))
        self.outputs.obey(order)

    def wanted(self, **about: object) -> OutputToPublish:
        known = {"store": str(self.store), "user": "ada", "as_of": "1.0", **about}
        return OutputToPublish(REF, **known)  # type: ignore[arg-type]

    def until(self, is_so: Callable[[OutputNow], bool]) -> OutputNow:
        until = time.monotonic() + WITHIN_S
        with self._changed:
            while True:
                (now,) = self.outputs.report()
                if is_so(now):
                    return now
                assert time.monotonic() < until, now
                self._changed.wait(0.1)

    def state(self, state: str) -> OutputNow:
        return self.until(lambda now: now.state == state)


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(turns, "FIRST_RETRY_S", 0.01)
    made = Rig(tmp_path)
    yield made
    made.order()


def test_an_output_is_in_its_store_manifest_last_and_again_for_another_mark(rig: Rig) -> None:
    rig.order(rig.wanted())
    stored = rig.state("stored").stored
    assert stored is not None
    assert (stored.as_of, stored.files, stored.bytes) == ("1.0", 2, 8)
    assert stored.sha256 == tree_of(FILES).sha256
    assert verify_version(LocalStore(str(rig.store)), stored.sha256).ok
    next((rig.store / "objects").rglob("??" + "?" * 62)).unlink()  # by a deletion of others
    rig.order(rig.wanted(as_of=""))
    rig.order(rig.wanted(as_of="1.2"))
    again = rig.until(lambda now: now.stored is not None and now.stored.as_of == "1.2").stored
    assert again is not None
    assert again.sha256 == stored.sha256
    assert verify_version(LocalStore(str(rig.store)), stored.sha256).ok


def test_nothing_is_put_while_objects_are_deleted_from_the_store(rig: Rig) -> None:
    rig.order(rig.wanted(as_of=""))
    rig.order(rig.wanted(as_of=""))
    assert rig.state("waiting").detail == ""
    assert not list(rig.store.iterdir())


def test_a_store_that_is_away_is_tried_again_and_loses_nothing(rig: Rig) -> None:
    away = rig.path / "away"
    rig.order(rig.wanted(store=str(away)))
    assert rig.until(lambda now: bool(now.detail)).detail.startswith("its store is away: ")
    away.mkdir()
    rig.state("stored")


def test_a_secret_that_is_missing_is_named_and_found_once_it_is_there(rig: Rig) -> None:
    rig.order(rig.wanted(secret="s3"))
    found = rig.until(lambda now: bool(now.detail))
    assert (
        found.detail
        == "its store cannot be opened: this node has no secret s3 of ada, of at most 4096 bytes"
    )
    rig.order(rig.wanted(secret="s3"), s3=b"AWS_ACCESS_KEY_ID=a")
    rig.state("stored")


def test_an_output_that_leaves_the_list_is_published_no_further(rig: Rig) -> None:
    (rig.folder / "large.bin").write_bytes(b"large" * 1_000_000)
    rig.outputs.rate_bytes_s = 1
    rig.order(rig.wanted())
    rig.until(lambda now: bool(writers()))
    rig.order()
    until(lambda: not writers(), "the end of the process that publishes")
    assert not (rig.store / "manifests").exists()


def writers() -> list[psutil.Process]:
    """Children that publish."""
    children = psutil.Process().children()
    return [one for one in children if one.is_running() and WRITE_MODULE in _argv(one)]


def _argv(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:  # it has just ended
        return []


def test_what_data_add_refuses_is_no_version(rig: Rig) -> None:
    (rig.folder / "c.csv").symlink_to("/etc/hostname")
    rig.order(rig.wanted())
    assert "c.csv is a link to /etc/hostname" in rig.state("failed").detail
    assert not list(rig.store.iterdir())


def test_an_output_that_is_not_there_is_gone(rig: Rig) -> None:
    (rig.path / "8.0.1").mkdir()
    rig.order(msgspec.structs.replace(rig.wanted(), ref=TaskRef(JobId(8), REF.task, REF.attempt)))
    rig.state("gone")


def test_an_output_whose_file_system_is_away_is_tried_again(rig: Rig) -> None:
    (rig.path / "7.0.1").mkdir()
    mounted, here = rig.path / "mounted", rig.path / "tasks"
    mounted.mkdir()
    for name in ("7.0.1", "7.0.1.output"):
        (rig.path / name).rename(mounted / name)
    here.mkdir()
    rig.order(rig.wanted(), tasks_dir=here)
    found = rig.until(lambda now: bool(now.detail))
    assert found.state == "waiting"
    assert found.detail == f"it cannot be read now: {here}/7.0.1.output: No such file or directory"
    here.rmdir()
    mounted.rename(here)
    rig.state("stored")


@pytest.mark.parametrize(
    ("files", "detail"),
    [
        (FILES, ""),
        ({**FILES, "a.csv": b"y\n"}, "1 file differs: changed a.csv"),
        ({"a.csv": FILES["a.csv"], "z": b""}, "2 files differ: missing z; new deep/b.csv"),
    ],
    ids=["equal", "changed", "others"],
)
def test_an_output_is_compared_with_a_version(
    rig: Rig, files: dict[str, bytes], detail: str
) -> None:
    tree = tree_of(files)
    put(rig.store, tree)
    rig.order(rig.wanted(equals=tree.sha256, as_of=""))
    assert rig.state("failed" if detail else "equal").detail == detail


def test_columns_are_checked_against_the_version_before(rig: Rig) -> None:
    for name in list(FILES):
        (rig.folder / name).unlink()
    rows = [f"{number % 7}\n" for number in range(200)]
    (rig.folder / "t.csv").write_text("x\n" + "".join(rows))
    rig.order(rig.wanted(is_checked=True))
    first = rig.state("stored").stored
    assert first is not None
    assert first.verdict == DataCheck(0, ok=True)
    (rig.folder / "t.csv").write_text("y\n" + "".join(rows))
    about = {"is_checked": True, "before": 3, "before_sha256": first.sha256, "as_of": "1.2"}
    rig.order(rig.wanted(**about))
    second = rig.until(lambda now: now.stored not in (None, first)).stored
    assert second is not None
    assert second.verdict is not None
    assert (second.verdict.against, second.verdict.ok) == (3, False)
    assert {one.name for one in second.verdict.findings} == {"x", "y"}
    assert list((rig.store / "summaries").iterdir())
    gone = {**about, "before_sha256": "7" * 64, "as_of": "1.4"}
    rig.order(rig.wanted(**gone))
    third = rig.until(lambda now: now.stored not in (None, first, second)).stored
    assert third is not None
    assert third.verdict is None


def test_rules_of_its_own_that_are_wrong_make_it_no_version(rig: Rig) -> None:
    (rig.folder / "data-checks.toml").write_text("psi = true")
    rig.order(rig.wanted(is_checked=True))
    assert "data-checks.toml:1" in rig.state("failed").detail
