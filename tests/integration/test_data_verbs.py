"""The verbs about data sets against a scheduler process, and a store in a directory."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from support.core.site_views import job as job_view
from support.core.sites import site
from support.programs.live_scheduler import SchedulerProcess, SiteDirectory
from wattline.client import BadRequest, Client, Conflict, NotAllowed, NotFound
from wattline.data import add as add_act
from wattline.data import lineage as lineage_act
from wattline.data import models, versions
from wattline.data import remove as remove_act
from wattline.failures import ActFailed
from wattline.main import run
from wattline.runs.run import Run
from wattline.task.saves import save
from wattline.verbs.run import Outcome
from wattline_protocol.data.checks import DataCheck, Finding
from wattline_protocol.data.requests import DataAdded, Origin
from wattline_protocol.data.site_data import SiteData
from wattline_protocol.wire.task_reports.run_records import Code
from wattline_runtime.data.add import NewVersion, Stored
from wattline_runtime.data.manifest import summary_key
from wattline_runtime.data.stores.interface import Store
from wattline_runtime.data.stores.local import LocalStore
from wattline_runtime.data.tree import Passed

UNCHANGED: dict[str, object] = {
    **dict.fromkeys(("made_from", "reader", "reviewer", "contains"), ()),
    **dict.fromkeys(("store", "retention", "secret", "from_run", "from_checkpoint")),
    "model": False,
    "no_check": False,
}
CODE = Code("c0ffee", diff="+x", diff_bytes=2, diff_sha256="d1ff")


@pytest.fixture(scope="module")
def data_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteDirectory]:
    folder = tmp_path_factory.mktemp("data")
    (folder / "store").mkdir()
    (folder / "others").mkdir()
    data = SiteData(store=str(folder / "store"), paths=(str(folder / "others"),))
    plain = msgspec.structs.replace(
        site().rack("a", 1).build(), data=data, checkpoint_root=str(folder / "checkpoints")
    )
    directory = SiteDirectory(folder / "site", plain)
    with SchedulerProcess(directory.path, folder / "state") as scheduler:
        scheduler.ready()
        yield directory


@pytest.fixture
def ada(data_site: SiteDirectory) -> Iterator[Client]:
    with Client(data_site.bundle("ada")) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "digits"
    root.mkdir()
    for number in range(100):
        (root / f"{number:02}.csv").write_bytes(f"{number:04}".encode() * 2_500)
    return root


def add(client: Client, name: str, path: Path | None, **flags: object) -> DataAdded:
    where = None if path is None else str(path)
    return add_act.add(client, name=name, path=where, **{**UNCHANGED, **flags})  # type: ignore[arg-type]


def remove(client: Client, reference: str) -> str:
    text = remove_act.remove(client, reference=reference, expired=False)
    assert isinstance(text, str)
    return text


def shown(client: Client, reference: str) -> dict[str, object]:
    found = versions.show(client, reference=reference, as_json=True)
    made: dict[str, object] = json.loads(msgspec.json.encode(found))
    return made


def test_from_a_folder_to_a_receipt(ada: Client, folder: Path, data_site: SiteDirectory) -> None:
    assert add(ada, "life", folder).text == "life@v1: 100 files, 977 KiB"
    store = LocalStore(data_site.site.data.store)
    (folder / "more.csv").write_bytes(b"more")
    with NewVersion(folder) as unregistered:  # it keeps nothing of life@v1
        unregistered.put(store)
    (folder / "more.csv").unlink()
    (folder / "07.csv").write_bytes(b"changed" * 1_000)
    assert add(ada, "life", folder, made_from=("life@v1",)).number == 2
    first, second = shown(ada, "life@v1"), shown(ada, "life")
    names = ("name", "version", "files", "bytes", "stored_bytes", "sha256", "made_from", "used_by")
    assert second.keys() >= {*names, "state", "aliases", "verdict", "set"}
    assert (second["version"], second["files"]) == (2, 100)
    assert second["made_from"] == [{"kind": "data", "name": "life@v1", "detail": first["sha256"]}]
    assert first["used_by"] == [{"kind": "data", "name": "life@v2", "detail": ""}]
    assert versions.verify(ada, reference="life@v1").value.ok
    before = sum(1 for _ in store.keys("objects/"))
    text = remove(ada, "life@v1")
    assert text.splitlines() == [
        "life@v1 is removed",
        "life@v1: 1 object, 9.77 KiB deleted from its store",
    ]
    assert sum(1 for _ in store.keys("objects/")) == before - 1
    assert versions.verify(ada, reference="life@v2").value.ok
    with pytest.raises(Conflict, match=r"1 object, 9\.77 KiB deleted"):
        remove(ada, "life@v1")


def test_sets_whose_newest_version_is_stale_are_listed(ada: Client, folder: Path) -> None:
    add(ada, "ore", folder)
    (folder / "made.csv").write_bytes(b"1")
    add(ada, "metal", folder, made_from=("ore@v1",))

    def stale() -> list[str]:
        listed = versions.listing(ada, name=None, stale=True)
        return [one.name for one in listed if one.name in ("ore", "metal")]

    assert stale() == []
    add(ada, "ore", folder)
    assert stale() == ["metal"]
    with pytest.raises(ActFailed, match="omit metal"):
        versions.listing(ada, name="metal", stale=True)
    add(ada, "metal", folder / "made.csv", made_from=("ore@v2",))
    assert stale() == []
    for reference in ("metal@v1", "metal@v2", "ore@v1", "ore@v2"):
        remove(ada, reference)


def test_columns_are_checked_against_the_version_before(
    ada: Client, tmp_path: Path, data_site: SiteDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = str(data_site.path / "ada.bundle")
    root = tmp_path / "people"
    root.mkdir()
    for low in (20, 21, 60):
        ages = "".join(f"{low + at % 50}\n" for at in range(2_000))
        (root / "people.csv").write_text(f"age\n{ages}")
        add(ada, "people", root)
    added = [ada.data_version(f"people@v{n}").version for n in (1, 2, 3)]
    first, second, third = (one.verdict for one in added)
    assert first == DataCheck(0, ok=True)
    assert second == DataCheck(1, ok=False, findings=(Finding("age", "range", 0.02, 0.01),))
    assert third is not None
    assert third.against == 1, "one that failed is no measure"
    assert [(one.name, one.rule) for one in third.findings] == [("age", "range"), ("age", "psi")]
    assert "check against people@v1: age: range 0.02 (limit 0.01)" in capsys.readouterr().err
    words = ["data", "check", "people@v2", "--against", "people@v1", "--bundle", bundle]
    assert run(words) == 1
    assert run([*words, "--range", "0.05"]) == 0
    store = LocalStore(data_site.site.data.store)
    summaries = {summary_key(one.sha256) for one in added}
    assert summaries <= set(store.keys("summaries/"))
    store.delete(summary_key(added[0].sha256))  # made again of the objects
    assert run(["data", "diff", "people@v1", "people@v3", "--bundle", bundle]) == 0
    assert "~ people.csv" in capsys.readouterr().out
    for number in (1, 2, 3):
        remove(ada, f"people@v{number}")
    assert not summaries & set(store.keys("summaries/"))
    (root / "people.csv").write_text("age,city\n1\n")
    capsys.readouterr()
    add(ada, "ragged", root)
    assert "check: people.csv: cannot be read: row 2 has 1 fields" in capsys.readouterr().err


def test_a_set_of_another_user(ada: Client, folder: Path, data_site: SiteDirectory) -> None:
    add(ada, "mine", folder, reader=("all",), reviewer=("bob",))
    with Client(data_site.bundle("bob")) as bob:
        with pytest.raises(NotAllowed, match="belongs to ada; you are bob"):
            add(bob, "mine", folder)
        with pytest.raises(NotAllowed):
            remove(bob, "mine@v1")
        with pytest.raises(NotFound, match="no version that is published"):
            versions.approve(ada, reference="mine", alias="stable")
        versions.approve(bob, reference="mine@v1", alias="stable")
    assert shown(ada, "mine@stable")["version"] == 1


def test_what_a_store_lost_is_named(ada: Client, folder: Path, data_site: SiteDirectory) -> None:
    place = data_site.path.parent / "others/lost"
    place.mkdir()
    add(ada, "lost", folder, store=str(place))
    next((place / "objects").rglob("*/*")).unlink()
    outcome = versions.verify(ada, reference="lost@v1")
    assert outcome.status == 1
    assert "is missing" in outcome.value.problems[0].problem
    place.rename(place.with_name("away"))
    with pytest.raises(ActFailed, match=r"the store is away: .*make the directory, or mount"):
        versions.verify(ada, reference="lost@v1")
    with pytest.raises(ActFailed, match="the store is away"):
        remove(ada, "lost@v1")
    with pytest.raises(ActFailed, match="of URLs only s3://BUCKET/PREFIX is read"):
        add(ada, "web", "https://host/set")  # type: ignore[arg-type]
    assert ada.data_version("lost@v1").version.state == "published"


def test_a_version_that_is_added_while_another_one_is_deleted_is_whole(
    ada: Client, folder: Path, monkeypatch: pytest.MonkeyPatch, data_site: SiteDirectory
) -> None:
    """Each time the client has looked at the store, the version with the same objects is deleted:
    before it is registered, it looks again."""
    add(ada, "old", folder)
    removed = threading.Event()
    put = NewVersion.put

    def put_then_delete(version: NewVersion, store: Store, passed: Passed) -> Stored:
        stored = put(version, store, passed)
        if not removed.is_set():
            removed.set()
            # The manifest of the other one is not listed yet, for the deletion that comes first.
            store.delete(f"manifests/{version.tree.sha256}")
            remove(ada, "old@v1")
        return stored

    monkeypatch.setattr(NewVersion, "put", put_then_delete)
    (folder / "more").write_text("x")
    add(ada, "new", folder)
    assert removed.is_set()
    assert versions.verify(ada, reference="new@v1").value.ok


def test_versions_whose_retention_has_ended(ada: Client, folder: Path) -> None:
    add(ada, "short", folder, retention=3_600.0)
    (line,) = list(remove_act.remove(ada, reference="short", expired=True))
    assert line == "short has no version whose retention has ended"
    add(ada, "short", folder, retention=0.001)
    (outcome,) = list(remove_act.remove(ada, reference="short", expired=True))
    assert isinstance(outcome, Outcome)
    assert outcome.value.startswith("short@v1 is removed")
    (folder / "other").touch()
    add(ada, "short", folder)
    with pytest.raises(BadRequest, match="name the version to remove, as in short@v2"):
        remove(ada, "short")


def run_of(job: int, **fields: object) -> Run:
    """Of a job whose node has sent its record."""
    given = {**dict.fromkeys(Run.__struct_fields__), "nodes": ("n1",)}
    known = {
        "run": f"{job}#1",
        "job": job,
        "name": "net",
        "code": CODE,
        "parameters": {"lr": 0.1},
        "datasets": (),
    }
    return Run(**{**given, **known, **fields})  # type: ignore[arg-type]


def test_from_data_over_a_run_to_a_model(
    ada: Client, folder: Path, data_site: SiteDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(ada, "raw", folder)
    home = Path(data_site.site.checkpoint_root) / "17"
    for step in (100, 200):
        save(step, b"weights" * step, directory=home)
    newest = max(home.iterdir())
    data = {"17": ("raw@v1",), "18": ("never@v1",)}
    for module in (models, lineage_act):
        monkeypatch.setattr(
            module, "read_run", lambda _, text: run_of(int(text), datasets=data[text])
        )
    made = add(ada, "net", None, model=True, from_run="17")
    assert made.text == "net@v1: 1 file, 1.37 KiB"
    origins = {one.kind: one for one in ada.data_version("net").version.made_from}
    assert (origins["run"].name, origins["data"].name) == ("17#1", "raw@v1")
    assert origins["checkpoint"] == Origin("checkpoint", str(newest), "step 200")
    assert origins["commit"] == Origin("commit", "c0ffee", "with changes, SHA-256 d1ff")
    assert origins["parameters"].detail == '{"lr":0.1}'
    add(ada, "small", folder, made_from=("net",))
    downwards = lineage_act.lineage(ada, of="raw@v1").used_by
    assert [(one.depth, one.name) for one in downwards] == [(0, "net@v1"), (1, "small@v1")]
    upwards = lineage_act.lineage(ada, of="small").made_from
    assert [one.name for one in upwards if one.depth == 0] == ["net@v1"]
    assert {one.name for one in upwards if one.depth == 1} >= {"17#1", "raw@v1", str(newest)}
    assert [one.name for one in lineage_act.lineage(ada, of="17").made_from] == ["raw@v1"]
    (read,) = lineage_act.lineage(ada, of="18").made_from
    assert read.name == "never@v1"
    assert "there is no data set never" in read.note
    for of in ("17", str(newest)):
        assert [one.name for one in lineage_act.lineage(ada, of=of).used_by] == [
            "net@v1",
            "small@v1",
        ]


def test_a_checkpoint_by_its_directory(
    ada: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(7, b"weights", directory=tmp_path)
    (checkpoint,) = tmp_path.iterdir()
    made = add(ada, "by-hand", None, model=True, from_checkpoint=str(checkpoint))
    version = ada.data_version(f"by-hand@v{made.number}").version
    assert (version.kind, version.bytes) == ("model", 7)
    assert version.made_from == (Origin("checkpoint", str(checkpoint), "step 7"),)
    (checkpoint / "data").write_bytes(b"weightz")
    with pytest.raises(ActFailed, match="is no intact checkpoint: data does not have the checksum"):
        add(ada, "by-hand", None, model=True, from_checkpoint=str(checkpoint))
    with pytest.raises(Conflict, match="by-hand is a model"):
        add(ada, "by-hand", checkpoint)
    monkeypatch.setattr(models, "read_run", lambda _, text: run_of(int(text)))
    monkeypatch.setattr(ada, "job", lambda number: job_view(number, "net", "COMPLETED"))
    with pytest.raises(ActFailed, match="run 99#1 has no intact checkpoint in"):
        add(ada, "by-hand", None, model=True, from_run="99")
    with pytest.raises(ActFailed, match="add --model"):
        add(ada, "x", None, from_run="17")
    with pytest.raises(ActFailed, match="name one of"):
        add(ada, "x", checkpoint, model=True, from_run="17")


def test_the_command(data_site: SiteDirectory, folder: Path) -> None:
    def wattline(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "wattline", "data", *words]
        bundle = str(data_site.path / "ada.bundle")
        return subprocess.run(
            [*command, "--bundle", bundle], capture_output=True, text=True, check=False
        )

    done = wattline("add", "words", str(folder), "--retention", "180d", "--contains", "personal")
    assert done.stdout == "words@v1: 100 files, 977 KiB\n", done.stderr
    (row,) = [line for line in wattline("ls").stdout.splitlines() if line.startswith("words")]
    assert row.split()[:5] == ["words", "dataset", "ada", "1", "v1"]
    detail = wattline("show", "words").stdout
    assert "contains   personal" in detail
    assert "retention  180d" in detail
    failed = wattline("add", "words", "/dev/null")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "null is a character device" in failed.stderr
