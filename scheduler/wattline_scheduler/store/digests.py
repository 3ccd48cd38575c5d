"""A digest in every row: reads return what was written, or report the row as damaged.

Theory. The column `digest` of each table holds the CRC-32 of all its other columns, in the order of
the table, as MessagePack. A checksum suffices because disks and programs err without intent. It
detects every burst of up to 32 bits, and misses anything else once in four billion damaged rows. It
is a number, because bytes take longer to bind. A whole table is checked without running a line of
Python per row.

Code that writes rows need not know of digests: `arm` creates triggers on every table that has the
column, and they digest rows that a statement left without a new digest. The upserts of `writer`,
nearly all writes, bring their own digests (`add_digests`); their tables have no triggers
(`Writer.disarm`) until another statement names them.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import tee
from operator import eq, itemgetter
from typing import Any

import msgspec

try:
    from isal.isal_zlib import crc32
except ImportError:  # not built for this machine: the same number, in up to ten times the time
    from zlib import crc32

DIGEST = "digest"
FUNCTION = "wattline_digest"
"""SQL function: the digest of its arguments, which are the other columns in order."""

_encoder = msgspec.msgpack.Encoder()
_encode, _encode_into = _encoder.encode, _encoder.encode_into
"""Bytes of a row, of which its digest is the CRC-32."""

Columns = tuple[tuple[str, str], ...]
"""Names and types of a table's columns, without the digest, in order."""


_other_columns = itemgetter(slice(None, -1))
_digest_column = itemgetter(-1)
"""Parts of a row that ends with its digest."""


def digest_of(values: Sequence[Any]) -> int:
    """Digest of values as read from the database."""
    digest: int = crc32(_encode(values))
    return digest


def _digest_stored(*values: Any) -> int:
    """Digest of values about to be stored; the database has no negative zero."""
    return digest_of([v or 0.0 if v.__class__ is float else v for v in values])


def tables(connection: sqlite3.Connection) -> dict[str, Columns]:
    """Every table that carries digests."""
    sql = "SELECT name FROM main.sqlite_master WHERE type = 'table' ORDER BY name"
    found = {name: _columns(connection, name) for (name,) in connection.execute(sql).fetchall()}
    return {
        table: tuple(one for one in columns if one[0] != DIGEST)
        for table, columns in found.items()
        if any(name == DIGEST for name, _ in columns)
    }


def _columns(connection: sqlite3.Connection, table: str) -> Columns:
    rows = connection.execute("SELECT name, type FROM pragma_table_info(?, 'main')", (table,))
    return tuple((name, kind) for name, kind in rows.fetchall())


def _names(columns: Columns, prefix: str = "") -> str:
    return ", ".join(prefix + name for name, _ in columns)


# --- Writing ------------------------------------------------------------------------------


def add_digests(rows: Iterable[list[Any]], buffer: bytearray) -> None:
    """Append to each row its digest; `buffer` is for its bytes, so that none is allocated.

    All rows of a statement before the statement: between two rows that SQLite writes, a digest
    takes twice the time, as the caches of the processor then hold SQLite's code.
    """
    for row in rows:
        _encode_into(row, buffer)
        row.append(crc32(buffer))


def arm(connection: sqlite3.Connection) -> None:
    """Make every later write of this connection carry its digest."""
    connection.create_function(FUNCTION, -1, _digest_stored, deterministic=True)
    for table, columns in tables(connection).items():
        arm_table(connection, table, columns)


def arm_table(connection: sqlite3.Connection, table: str, columns: Columns) -> None:
    other = f"UPDATE OF {_names(columns)}"
    for verb, when in (("INSERT", "NULL"), (other, f"OLD.{DIGEST}")):
        connection.execute(
            f"CREATE TEMP TRIGGER IF NOT EXISTS {_trigger(table, verb)} "  # noqa: S608 - names of our tables
            f"AFTER {verb} ON main.{table} WHEN NEW.{DIGEST} IS {when} "
            f"BEGIN UPDATE {table} SET {DIGEST} = {FUNCTION}({_names(columns, 'NEW.')}) "
            "WHERE rowid = NEW.rowid; END"
        )


def disarm_table(connection: sqlite3.Connection, table: str) -> None:
    for verb in ("INSERT", "UPDATE"):
        connection.execute(f"DROP TRIGGER IF EXISTS temp.{_trigger(table, verb)}")


def _trigger(table: str, verb: str) -> str:
    return f"{table}_{DIGEST}_{verb[:6]}"


# --- Checking -----------------------------------------------------------------------------


def damaged(connection: sqlite3.Connection, without: frozenset[str] = frozenset()) -> str:
    """Description of the first damaged record; empty if none is."""
    for table, columns in tables(connection).items():
        if table not in without and not _is_whole(connection, table, columns):
            return _first_damaged(connection, table, columns)
    return ""


def _rows(connection: sqlite3.Connection, table: str, columns: Columns) -> sqlite3.Cursor:
    return connection.execute(f"SELECT {_names(columns)}, {DIGEST} FROM {table} NOT INDEXED")  # noqa: S608 - names of our tables


def _is_whole(connection: sqlite3.Connection, table: str, columns: Columns) -> bool:
    rows, same_rows = tee(_rows(connection, table, columns))
    found = map(crc32, map(_encode, map(_other_columns, rows)))
    try:
        return all(map(eq, found, map(_digest_column, same_rows)))
    except sqlite3.OperationalError:
        return False  # invalid text: `_first_damaged` reports it, or raises any other error


def _first_damaged(connection: sqlite3.Connection, table: str, columns: Columns) -> str:
    rows = _rows(connection, table, columns)
    rows.connection.text_factory = lambda raw: raw.decode(errors="surrogateescape")
    try:
        for row in rows:
            if not _is_as_written(row):
                shown = (f"{n} {str(v)[:40]!r}" for (n, _), v in zip(columns, row, strict=False))
                return f"a record of {table} is not what was written: {', '.join(shown)[:200]}"
    finally:
        rows.connection.text_factory = str
    return f"a record of {table} is not what was written"


def _is_as_written(row: tuple[Any, ...]) -> bool:
    try:
        return bool(digest_of(row[:-1]) == row[-1])
    except UnicodeEncodeError:
        return False
