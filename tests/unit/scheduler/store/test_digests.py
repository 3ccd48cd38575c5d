"""Every row says whether it is what was written, whichever statement wrote it."""

import sqlite3
import zlib
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.core import records
from support.store.stores import NOW, everything, opened
from wattline_protocol.ids import DomainId, NodeId, UnixTime
from wattline_scheduler.records import RecoveryRecord
from wattline_scheduler.store.digests import (
    DIGEST,
    add_digests,
    arm,
    damaged,
    digest_of,
    tables,
)
from wattline_scheduler.store.errors import StoreCorrupt
from wattline_scheduler.store.record_table import Table
from wattline_scheduler.store.rollups import DomainRollup, NodeRollup
from wattline_scheduler.store.verify import DB_NAME


class Sample(msgspec.Struct, frozen=True):
    """A record with a column of each type."""

    key: ClassVar[tuple[str, ...]] = ("a",)
    a: int
    b: float
    c: str
    d: bool


def read(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path / DB_NAME, isolation_level=None)


def measured(start_s: int) -> list[DomainRollup | NodeRollup]:
    return [
        DomainRollup(DomainId("site"), start_s, 10, 5, 4, 3, 2, 1),  # seconds: a whole number
        NodeRollup(NodeId("n1"), UnixTime(start_s), "beats", 10.0, 7, 6, 5, 4),
    ]


def test_the_digest_is_the_same_in_every_version() -> None:
    """It stands on disk: another way to count it makes every store look damaged."""
    row = (7, "train", -1.5, None, 2**40, b"\x00")
    assert digest_of(row) == 0xF219A656


@given(st.lists(st.lists(st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=2_000))))
def test_rows_together_get_the_digests_of_zlib_and_of_each_alone(
    rows: list[list[int | bytes]],
) -> None:
    expected = [[*row, zlib.crc32(msgspec.msgpack.encode(row))] for row in rows]
    assert [digest_of(row) for row in rows] == [row[-1] for row in expected]
    add_digests(rows, bytearray())
    assert rows == expected


def test_every_table_carries_digests_and_everything_written_has_one(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([*everything(), *measured(0), *measured(0), *measured(10)])
    store.tidy(NOW + 2 * 86_400)
    store.close()
    db = read(tmp_path)
    names = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert set(tables(db)) == names
    assert damaged(db) == ""
    for table in names:
        assert db.execute(f"SELECT count(*) FROM {table} WHERE {DIGEST} IS NULL").fetchone() == (0,)
    db.close()


def test_a_job_whose_state_alone_is_written_keeps_its_digest(tmp_path: Path) -> None:
    store = opened(tmp_path)
    job = records.job(1)
    store.commit([job])
    ended = msgspec.structs.replace(job, state="FAILED", ended_unix_s=5, is_late=True)
    store.commit([ended])
    store.close()
    db = read(tmp_path)
    assert damaged(db) == ""
    assert db.execute("SELECT ended_unix_s, is_late FROM jobs").fetchone() == (5.0, 1)
    db.close()


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE jobs SET priority = priority + 1 WHERE id = 2",
        "UPDATE books SET acked_mw = acked_mw - 1",
        "UPDATE events SET digest = NULL WHERE seq = 1",
        "UPDATE meta SET quiet_commits = quiet_commits + 1",
        "UPDATE attempts SET ended_unix_s = NULL",
        "UPDATE jobs SET name = CAST(x'ff41' AS TEXT) WHERE id = 1",
    ],
)
def test_a_record_that_is_not_what_was_written_is_refused(tmp_path: Path, harm: str) -> None:
    store = opened(tmp_path)
    store.commit(everything())
    store.close()
    db = read(tmp_path)
    db.execute(harm)
    db.close()
    table = harm.split()[1]
    with pytest.raises(StoreCorrupt, match=f"a record of {table} is not what was written.*backup"):
        opened(tmp_path)


def test_rows_that_a_connection_writes_by_hand_are_digested_once_it_is_armed(
    tmp_path: Path,
) -> None:
    store = opened(tmp_path)
    store.commit(everything())
    store.close()
    db = read(tmp_path)
    arm(db)
    arm(db)
    db.execute("UPDATE jobs SET priority = priority + 1")
    db.execute("INSERT INTO meters VALUES ('pdu-z', 1, 1000, NULL)")
    db.execute("INSERT INTO meters (domain, held_mw, factor_permille) VALUES ('pdu-y', 1, 1000)")
    assert damaged(db) == ""
    db.close()
    opened(tmp_path).close()


@given(
    whole=st.integers(-(2**63), 2**63 - 1),
    real=st.floats(allow_nan=False) | st.integers(-(2**53), 2**53),
    text=st.text(st.characters(exclude_categories=["Cs"])),
    flag=st.booleans(),
)
def test_whatever_a_record_holds_is_found_as_it_was_written(
    whole: int, real: float, text: str, flag: bool
) -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    columns = "a INTEGER PRIMARY KEY, b REAL, c TEXT, d INTEGER, digest INTEGER"
    for table in ("by_trigger", "by_upsert"):
        db.execute(f"CREATE TABLE {table} ({columns}) STRICT")
    arm(db)
    db.execute("INSERT INTO by_trigger VALUES (?, ?, ?, ?, NULL)", (whole, real, text, flag))
    samples = Table("by_upsert", Sample)
    record = Sample(whole, real, text, flag)
    row = samples.row(record)
    add_digests([row], bytearray())
    db.execute(samples.upsert(DIGEST), row)
    assert samples.records(db) == (record,)
    assert damaged(db) == ""
    both = [db.execute(f"SELECT * FROM {t}").fetchall() for t in ("by_trigger", "by_upsert")]
    assert both[0] == both[1]
    db.close()


def test_statements_without_a_digest_get_one_while_the_store_is_in_use(tmp_path: Path) -> None:
    """Its hot tables have no triggers: the end of a recovery and tidying write `meta` by hand."""
    store = opened(tmp_path, recover=True)
    store.commit(everything())
    store.commit([RecoveryRecord(is_over=True)])
    store.tidy(NOW + 2 * 86_400)
    store.commit([records.job(9), *measured(0)])
    store.tidy(NOW + 4 * 86_400)
    store.commit([RecoveryRecord(is_over=False)])
    db = read(tmp_path)
    assert damaged(db) == ""
    db.close()
    store.close()
    opened(tmp_path).close()
