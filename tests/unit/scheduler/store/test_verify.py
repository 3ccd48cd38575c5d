"""A large store is verified by a process of its own while the start goes on."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from support.core import records
from support.store.stores import NOW
from wattline_scheduler.store import verify
from wattline_scheduler.store.errors import StoreCorrupt, StoreIncomplete
from wattline_scheduler.store.store import Store
from wattline_scheduler.store.verify import DB_NAME, Snapshot, Verification

JOB = 1


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory with a job, whose store counts as large."""
    store, _ = Store.open(tmp_path, now_unix_s=NOW)
    store.commit([records.job(JOB)])
    store.close()
    monkeypatch.setattr(verify, "ALONE_MIN_BYTES", 0)
    return tmp_path


def change(state: Path, statement: str) -> None:
    """As damage would: the digest stays as it was."""
    with closing(sqlite3.connect(state / DB_NAME, isolation_level=None)) as connection:
        connection.execute(statement)


def epoch(state: Path) -> int:
    with closing(sqlite3.connect(state / DB_NAME)) as connection:
        return int(connection.execute("SELECT epoch FROM meta").fetchone()[0])


def snapshot(state: Path) -> Snapshot | None:
    with closing(verify.open_to_read(state / DB_NAME)) as connection:
        return Snapshot.of(connection)


def test_a_whole_store_starts_and_its_epoch_is_raised(state: Path) -> None:
    before = epoch(state)
    with closing(Verification(state / DB_NAME)) as verification:
        assert verification.is_beside
        store, saved = Store.open(state, now_unix_s=NOW, verification=verification)
    store.close()
    assert (saved.epoch, [job.id for job in saved.jobs]) == (before + 1, [JOB])


def test_damage_is_refused_before_the_epoch_is_raised(state: Path) -> None:
    before = epoch(state)
    change(state, "UPDATE jobs SET name = 'other'")
    with pytest.raises(StoreCorrupt, match="a record of jobs is not what was written"):
        Store.open(state, now_unix_s=NOW)
    assert epoch(state) == before


def test_damage_is_what_the_refusal_says_though_loading_fails_first(state: Path) -> None:
    change(state, "UPDATE jobs SET spec = '[]'")
    with pytest.raises(StoreCorrupt, match="a record of jobs is not what was written"):
        Store.open(state, now_unix_s=NOW)


def test_damage_to_the_count_of_commits_is_no_lost_log(state: Path) -> None:
    change(state, "UPDATE meta SET quiet_commits = 0")
    with pytest.raises(StoreCorrupt, match="a record of meta"):
        Store.open(state, now_unix_s=NOW)


def test_a_store_that_lacks_commits_is_refused_for_that(state: Path) -> None:
    (state / DB_NAME).write_bytes(b"")
    with pytest.raises(StoreIncomplete):
        Store.open(state, now_unix_s=NOW)


def test_a_verdict_over_another_snapshot_counts_for_nothing(state: Path) -> None:
    with closing(Verification(state / DB_NAME)) as verification:
        assert verification._process is not None
        verification._process.wait()  # its verdict: whole
        change(state, "UPDATE jobs SET name = 'other'")
        change(state, "UPDATE meta SET quiet_commits = quiet_commits + 1")
        with pytest.raises(StoreCorrupt):
            verification.conclude(snapshot(state))


def test_the_verdict_over_the_very_snapshot_counts(state: Path) -> None:
    with closing(Verification(state / DB_NAME)) as verification:
        assert verification._process is not None
        verification._process.wait()
        change(state, "UPDATE jobs SET name = 'other'")  # beside `meta`: the same snapshot by name
        verification.conclude(snapshot(state))


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_start_without_a_verdict_makes_it_itself(state: Path, is_damaged: bool) -> None:
    if is_damaged:
        change(state, "UPDATE jobs SET name = 'other'")
    with closing(Verification(state / DB_NAME)) as verification:
        assert verification._process is not None
        verification._process.kill()
        if is_damaged:
            with pytest.raises(StoreCorrupt):
                Store.open(state, now_unix_s=NOW, verification=verification)
        else:
            Store.open(state, now_unix_s=NOW, verification=verification)[0].close()


def test_no_process_is_left_when_the_lock_is_taken(state: Path) -> None:
    store, _ = Store.open(state, now_unix_s=NOW)
    with closing(Verification(state / DB_NAME)) as verification:
        process = verification._process
        with pytest.raises(Exception, match="scheduler"):
            Store.open(state, now_unix_s=NOW, verification=verification)
    store.close()
    assert process is not None
    assert process.returncode is not None


def test_a_store_that_is_not_in_a_log_is_verified_by_the_start(state: Path) -> None:
    change(state, "PRAGMA journal_mode = DELETE")
    assert verify.main(state / DB_NAME) == 1
    change(state, "UPDATE jobs SET name = 'other'")
    with pytest.raises(StoreCorrupt):
        Store.open(state, now_unix_s=NOW)
