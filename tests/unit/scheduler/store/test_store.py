"""What is committed is read back; what must not be opened is refused in words."""

import contextlib
import hashlib
import sqlite3
from pathlib import Path

import msgspec
import pytest

from fuzz.samples import ROUTES
from support.core import records
from support.store.stores import NOW, everything, opened, settle
from wattline_protocol.ids import JobId, UnixTime, UserName
from wattline_protocol.routing.file import parse_routes
from wattline_scheduler.notification_record import NotificationRecord, Outcome
from wattline_scheduler.records import UseRecord
from wattline_scheduler.route_record import RouteRecord
from wattline_scheduler.store import load
from wattline_scheduler.store.errors import (
    StoreCorrupt,
    StoreError,
    StoreFenced,
    StoreForeign,
    StoreLocked,
    StoreOtherVersion,
    StoreUnwritable,
)
from wattline_scheduler.store.file import empty_image
from wattline_scheduler.store.load import ENDED_JOBS_LOADED, EVENTS_LOADED, USES_LOADED
from wattline_scheduler.store.schema import SCHEMA_VERSION
from wattline_scheduler.store.store import Store


def test_what_was_committed_is_loaded(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit(everything())
    store.close()

    store, saved = Store.open(tmp_path, now_unix_s=NOW)
    store.close()

    assert saved.jobs == (records.job(1, ended_after_s=5.0), records.job(2))
    assert saved.gangs == (records.gang(1, attempt=1, is_ended=True), records.gang(2))
    assert saved.attempts == (records.attempt(1),)
    assert saved.nodes == (records.node(),)
    assert saved.books == (records.book(),)
    assert saved.limits == (records.limit(),)
    assert saved.demands == (records.demand(0), records.demand(1))
    assert saved.meters == (records.meter(),)
    assert saved.plants == (records.plant(),)
    assert saved.uses == (records.use(),)
    assert saved.reservations == (records.reservation(),)
    assert saved.events == (records.event(1), records.event(2))
    assert (saved.next_job, saved.next_event) == (3, 3)


def test_the_use_of_what_the_site_file_names_is_loaded_however_old_it_is(tmp_path: Path) -> None:
    store = opened(tmp_path)
    old = [UseRecord("queue", name, UnixTime(1.0)) for name in ("night", "day")]
    store.commit([*old, *(UseRecord("queue", f"q{n}", UnixTime(NOW)) for n in range(USES_LOADED))])
    store.close()
    lasting = (("queue", "night"), ("queue", "q1"), ("account", "unused"))
    store, saved = Store.open(tmp_path, now_unix_s=NOW, lasting=lasting)  # type: ignore[arg-type]  # literals
    store.close()
    names = {record.name for record in saved.uses}
    assert ("night" in names, "day" in names) == (True, False)
    assert len(saved.uses) == len(names) == USES_LOADED + 1


def test_an_empty_store_starts_at_one(tmp_path: Path) -> None:
    store, saved = Store.open(tmp_path, now_unix_s=NOW)
    store.close()
    assert (saved.epoch, saved.next_job, saved.next_event) == (1, 1, 1)
    assert saved.jobs == ()


def test_a_record_replaces_the_one_with_its_key(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([records.book(acked_mw=5), records.book(acked_mw=6)])
    store.commit([records.book(acked_mw=7)])
    store.close()
    store, saved = Store.open(tmp_path, now_unix_s=NOW)
    store.close()
    assert saved.books == (records.book(acked_mw=7),)


def test_the_state_of_a_job_is_written_without_its_specification(tmp_path: Path) -> None:
    store = opened(tmp_path)
    job = records.job(1)
    store.commit([job])
    changes = {"is_late": True, "is_risk_reported": True, "is_held": True, "held_by": "ops"}
    running = msgspec.structs.replace(job, state="RUNNING", reason="because", **changes)
    statements: list[str] = []
    store._connection.set_trace_callback(statements.append)
    store.commit([running])
    store._connection.set_trace_callback(None)
    assert [text.split()[:2] for text in statements if "jobs" in text] == [["UPDATE", "jobs"]]
    assert not any("train.py" in text for text in statements)
    ended = msgspec.structs.replace(running, state="COMPLETED", ended_unix_s=UnixTime(NOW))
    store.commit([ended])
    store.close()
    with contextlib.closing(opened(tmp_path)) as again:
        found = again.job(job.id)
        assert found is not None
        assert found[0] == ended


def test_of_several_records_of_a_job_in_a_transaction_the_last_counts(tmp_path: Path) -> None:
    store = opened(tmp_path)
    job = records.job(1)
    store.commit([job])
    other = msgspec.structs.replace(job, spec=records.spec("renamed"), state="HELD")
    last = msgspec.structs.replace(other, state="PENDING", reason="waits")
    store.commit([msgspec.structs.replace(job, state="RUNNING"), other, last])
    found = store.job(job.id)
    assert found is not None
    assert found[0] == last
    store.close()


def test_each_run_has_its_own_epoch_and_instance(tmp_path: Path) -> None:
    runs = []
    for _ in range(3):
        store, saved = Store.open(tmp_path, now_unix_s=NOW)
        store.close()
        runs.append((saved.epoch, saved.instance))
    assert [epoch for epoch, _ in runs] == [1, 2, 3]
    assert len({instance for _, instance in runs}) == 3


def test_the_epoch_is_on_disk_before_open_returns(tmp_path: Path) -> None:
    store, saved = Store.open(tmp_path, now_unix_s=NOW)
    reader = sqlite3.connect(store.path)
    assert reader.execute("SELECT epoch FROM meta").fetchone() == (saved.epoch,)
    reader.close()
    store.close()


@pytest.mark.parametrize("number", [2**63, 2**64 - 1, -(2**63) - 1])
def test_numbers_that_no_database_has_are_of_nothing(tmp_path: Path, number: int) -> None:
    """Any client may ask for them."""
    store = opened(tmp_path)
    store.commit(everything())
    assert store.job(JobId(number)) is None
    assert store.outcomes([JobId(number)]) == {}
    assert len(store.events(number, 10)) == (2 if number < 0 else 0)
    store.close()


def test_only_open_and_newest_ended_jobs_are_loaded(tmp_path: Path) -> None:
    store = opened(tmp_path)
    ended = ENDED_JOBS_LOADED + 50
    store.commit([records.job(n, ended_after_s=1.0) for n in range(2, ended + 2)])
    store.commit([records.job(1), records.gang(1), records.gang(2, is_ended=True)])
    store.close()
    store, saved = Store.open(tmp_path, now_unix_s=NOW)
    assert len(saved.jobs) == ENDED_JOBS_LOADED + 1
    assert saved.jobs[0] == records.job(1)
    assert [g.job for g in saved.gangs] == [1]
    assert saved.next_job == ended + 2
    older = store.job(JobId(2))
    assert older == (records.job(2, ended_after_s=1.0), (records.gang(2, is_ended=True),), ())
    assert store.job(JobId(999_999)) is None
    store.close()


def test_of_large_arrays_that_have_ended_fewer_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "ENDED_GANGS_LOADED", 5)
    store = opened(tmp_path)
    store.commit([records.job(n, ended_after_s=float(n)) for n in (1, 2, 3)])
    counts = {1: 3, 2: 3, 4: 9}
    of_jobs = [(records.gang(job, is_ended=True), count) for job, count in counts.items()]
    store.commit([records.job(4)])
    store.commit(
        [msgspec.structs.replace(one, gang=n) for one, all_ in of_jobs for n in range(all_)]
    )
    store.close()
    store, saved = Store.open(tmp_path, now_unix_s=NOW)
    assert [job.id for job in saved.jobs] == [2, 3, 4]
    assert [one.job for one in saved.gangs] == [2] * 3 + [4] * 9
    store.close()


def test_how_the_parents_of_open_jobs_ended_is_loaded_however_old_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "ENDED_JOBS_LOADED", 1)
    waits = records.job(5, after_ok=(JobId(1), JobId(3)), after_any=(JobId(2), JobId(4)))
    failed = msgspec.structs.replace(records.job(3, ended_after_s=1.0), state="FAILED")
    store = opened(tmp_path)
    store.commit([records.job(n, ended_after_s=1.0) for n in (1, 2)])
    store.commit([failed, records.job(4), waits, records.job(6, ended_after_s=2.0)])
    store.close()
    store, saved = Store.open(tmp_path, now_unix_s=NOW)
    assert [job.id for job in saved.jobs] == [4, 5, 6]
    assert saved.outcomes == {1: "COMPLETED", 2: "COMPLETED", 3: "FAILED"}
    assert store.outcomes([JobId(3), JobId(4), JobId(77)]) == {3: "FAILED"}
    store.close()


def test_newest_events_are_loaded_and_older_ones_can_be_read(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([records.event(n) for n in range(1, EVENTS_LOADED + 11)])
    store.close()
    store, saved = Store.open(tmp_path, now_unix_s=NOW)
    assert [saved.events[0].seq, saved.events[-1].seq] == [11, EVENTS_LOADED + 10]
    assert [event.seq for event in store.events(3, 2)] == [4, 5]
    store.close()


def test_a_second_scheduler_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    store = opened(tmp_path)
    with pytest.raises(StoreLocked, match=r"in use by another scheduler \(process \d+\)"):
        opened(tmp_path)
    store.close()
    opened(tmp_path).close()


def test_a_fenced_store_writes_nothing(tmp_path: Path) -> None:
    store = opened(tmp_path)
    other = sqlite3.connect(store.path)
    other.execute("UPDATE meta SET epoch = epoch + 1, instance = 'other'")
    other.commit()
    with pytest.raises(StoreFenced, match="epoch 2 of another scheduler"):
        store.commit([records.job(1)])
    assert other.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
    other.close()
    store.close()


def test_the_same_epoch_of_another_instance_fences_too(tmp_path: Path) -> None:
    store = opened(tmp_path)
    other = sqlite3.connect(store.path)
    other.execute("UPDATE meta SET instance = 'other'")
    other.commit()
    other.close()
    with pytest.raises(StoreFenced):
        store.commit([])
    store.close()


def test_another_schema_has_another_version() -> None:
    """Columns derive from the records: whoever changes them raises SCHEMA_VERSION as well."""
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.deserialize(empty_image())
        columns = db.execute(
            "SELECT t.name, c.name, c.type, c.[notnull], c.pk FROM sqlite_master t,"
            " pragma_table_info(t.name) c WHERE t.type = 'table' ORDER BY 1, 2"
        ).fetchall()
        indexes = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' ORDER BY 1")
        form = repr([columns, indexes.fetchall()]).encode()
    assert (SCHEMA_VERSION, hashlib.sha256(form).hexdigest()[:8]) == (54, "4919cf96")


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION - 1, SCHEMA_VERSION + 1])
def test_a_store_of_another_version_is_refused_and_left_alone(tmp_path: Path, version: int) -> None:
    opened(tmp_path).close()
    path = tmp_path / "wattline.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    with pytest.raises(StoreOtherVersion, match=f"version {version}.*Start the Wattline that"):
        opened(tmp_path)
    assert path.read_bytes() == before


def test_a_failure_while_the_tables_are_created_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wattline_scheduler.store.schema._INDEXES", ("half ON nothing (x)",))
    with pytest.raises(StoreError):
        opened(tmp_path)
    monkeypatch.undo()
    opened(tmp_path).close()


def test_a_foreign_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "wattline.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreForeign, match="not one of Wattline's"):
        opened(tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_truncated_database_is_refused(tmp_path: Path, keep: float) -> None:
    store = opened(tmp_path)
    store.commit([records.job(n) for n in range(1, 500)])
    store.close()
    path = tmp_path / "wattline.db"
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * keep))
    with pytest.raises(StoreCorrupt, match="--recover"):
        opened(tmp_path)


def test_bytes_that_are_no_database_are_refused(tmp_path: Path) -> None:
    (tmp_path / "wattline.db").write_bytes(b"these are not the pages you are looking for " * 99)
    with pytest.raises(StoreCorrupt, match="damaged"):
        opened(tmp_path)


def test_an_overwritten_page_is_found(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([records.job(n) for n in range(1, 500)])
    store.close()
    path = tmp_path / "wattline.db"
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(StoreCorrupt):
        opened(tmp_path)


def test_an_unreadable_record_is_refused(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([records.job(1)])
    store.close()
    connection = sqlite3.connect(tmp_path / "wattline.db", isolation_level=None)
    connection.execute("UPDATE jobs SET spec = '{}'")
    connection.close()
    with pytest.raises(StoreCorrupt, match="a record of jobs is not what was written: id '1'"):
        opened(tmp_path)


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StoreUnwritable, match="cannot make the state directory"):
        opened(tmp_path / "state")


def test_files_are_private(tmp_path: Path) -> None:
    store = opened(tmp_path / "state")
    store.commit([records.job(1)])
    modes = {f.name: f.stat().st_mode & 0o777 for f in (tmp_path / "state").iterdir()}
    store.close()
    assert modes.keys() >= {"wattline.db", "wattline.db-wal", "scheduler.lock"}
    assert set(modes.values()) == {0o600}
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_a_full_disk_while_backing_up_leaves_no_backup(tmp_path: Path) -> None:
    store = opened(tmp_path / "state")
    with pytest.raises(StoreError):
        store.backup(tmp_path / "missing" / "copy.db")
    store.close()


def test_limits_that_are_long_over_are_dropped(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([records.limit("event 7", is_over=True), records.limit("event 8", is_over=True)])
    store.tidy(settle(store, records.T0 + 20 * 86_400))
    assert store._connection.execute("SELECT count(*) FROM limits").fetchone() == (2,)
    store.tidy(settle(store, records.T0 + 31 * 86_400))
    assert store._connection.execute("SELECT count(*) FROM limits").fetchone() == (0,)
    store.close()


def test_routes_are_loaded_until_they_are_removed_and_kept_for_a_while(tmp_path: Path) -> None:
    [route] = parse_routes(ROUTES[0].decode(), "route.toml")
    kept = RouteRecord("digits", UserName("ada"), UnixTime(records.T0), route)
    removed_unix_s = UnixTime(records.T0 + 1)
    gone = msgspec.structs.replace(kept, name="gone", removed_unix_s=removed_unix_s)
    store = opened(tmp_path)
    store.commit([kept, gone])
    store.tidy(settle(store, records.T0 + 20 * 86_400))
    assert store._connection.execute("SELECT count(*) FROM routes").fetchone() == (2,)
    store.tidy(settle(store, records.T0 + 31 * 86_400))
    store.close()
    store, saved = Store.open(tmp_path, now_unix_s=NOW)
    assert saved.routes == (kept,)
    assert store._connection.execute("SELECT count(*) FROM routes").fetchone() == (1,)
    store.close()


def test_open_notifications_are_loaded_oldest_first_and_done_ones_deleted(tmp_path: Path) -> None:
    def made(number: int, at: float, outcome: Outcome = "") -> NotificationRecord:
        job, owner, when = JobId(number), UserName("ada"), UnixTime(records.T0 + at)
        to = "ada@example.org"
        return NotificationRecord(
            job, 9, owner, to, "end", "train", "FAILED", "exit status 3", when, outcome
        )

    store = opened(tmp_path)
    store.commit([made(1, 5.0), made(2, 3.0), made(3, 4.0), made(4, 1.0, "given_up")])
    store.commit([made(3, 4.0, "delivered")])
    store.close()
    store, saved = Store.open(tmp_path, now_unix_s=NOW)
    assert saved.notifications == (made(2, 3.0), made(1, 5.0))
    store.tidy(NOW)
    left = store._connection.execute("SELECT job FROM notifications ORDER BY job").fetchall()
    assert left == [(1,), (2,)]
    store.close()
