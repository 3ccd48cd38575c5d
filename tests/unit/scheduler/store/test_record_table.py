"""A table derives from a struct, and its rows give back the records."""

import sqlite3
from contextlib import closing
from typing import Annotated, ClassVar, Literal

import msgspec
import pytest
from sqlite_utils import Database

from support.core import records
from wattline_protocol.ids import JobId, UnixTime
from wattline_scheduler.store.file import empty_image
from wattline_scheduler.store.record_table import Table
from wattline_scheduler.store.tables import JOBS


class Span(msgspec.Struct, frozen=True):
    """Plain fields: stored as columns."""

    start_s: float
    steps: int = 0


class Part(msgspec.Struct, frozen=True):
    """Stored as JSON: one of its fields is no column."""

    names: tuple[Annotated[str, msgspec.Meta(max_length=4)], ...] = ()


class Thing(msgspec.Struct, frozen=True):
    """A record with a field of each kind."""

    key: ClassVar[tuple[str, ...]] = ("job", "name")
    job: JobId
    name: Annotated[str, msgspec.Meta(max_length=9)]
    phase: Literal["open", "over"]
    part: Part
    span: Span
    until_s: UnixTime | None = None
    is_held: bool = False
    spare: Part | None = None
    sizes: dict[str, int] = {}
    cause: Literal["lost"] | None = None


THINGS = Table("things", Thing)


def test_each_field_is_a_column_and_json_stands_last() -> None:
    found = {column.name: (column.kind, column.is_optional) for column in THINGS.columns}
    json = msgspec.Struct
    assert found == {
        "job": (int, False),
        "name": (str, False),
        "phase": (str, False),
        "start_s": (float, False),
        "steps": (int, False),
        "until_s": (float, True),
        "is_held": (bool, False),
        "cause": (str, True),
        "part": (json, False),
        "spare": (json, True),
        "sizes": (json, False),
    }
    assert THINGS.names[-3:] == ["part", "spare", "sizes"]


def stored(*things: Thing) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    columns = {c.name: {bool: int, msgspec.Struct: str}.get(c.kind, c.kind) for c in THINGS.columns}
    Database(connection).create_table("things", columns, pk=THINGS.key, strict=True)
    connection.executemany(THINGS.upsert(), map(THINGS.row, things))
    return connection


@pytest.mark.parametrize(
    "thing",
    [
        Thing(JobId(7), "a", "open", Part(), Span(-0.0)),
        Thing(
            JobId(7),
            "a",
            "over",
            Part(("x", "y")),
            Span(1, 2),
            UnixTime(5),
            True,
            Part(("z",)),
            {"n": 3},
            "lost",
        ),
    ],
)
def test_a_record_is_read_back_and_replaced_by_key(thing: Thing) -> None:
    other = Thing(JobId(8), "a", "open", Part(), Span(0.0))
    with closing(stored(Thing(JobId(7), "a", "open", Part(), Span(9.0)), other, thing)) as db:
        assert THINGS.records(db, "ORDER BY job") == (thing, other)
        assert THINGS.records(db, "WHERE job = ?", (8,)) == (other,)


def test_json_from_before_a_bound_existed_is_clipped() -> None:
    long = Thing(JobId(7), "a", "open", Part(("longer",)), Span(0.0))
    with closing(stored(long)) as db:
        (found,) = THINGS.records(db)
    assert found.part == Part(("long",))


def test_columns_for_queries_are_written_and_not_read() -> None:
    shown = ("account", "name", "kind", "queue", "priority")
    assert set(shown) < set(JOBS.names)
    statements: list[str] = []
    with closing(sqlite3.connect(":memory:")) as db:
        db.deserialize(empty_image())
        db.execute(JOBS.upsert(), JOBS.row(records.job(1)))
        db.set_trace_callback(statements.append)
        assert JOBS.records(db) == (records.job(1),)
        found = db.execute(f"SELECT {', '.join(shown)} FROM jobs").fetchall()
    assert found == [("ada", "train", "batch", "default", 50)]
    assert not any(name in statements[0] for name in shown)
