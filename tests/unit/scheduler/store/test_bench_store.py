"""`bench store` compares with a store that differs in digests and marker alone."""

import sqlite3
from contextlib import closing
from pathlib import Path

from support.store.stores import NOW, everything, opened
from wattline_bench.store import PlainStore
from wattline_scheduler.store.digests import DIGEST, tables
from wattline_scheduler.store.marker import MARKER_NAME
from wattline_scheduler.store.verify import DB_NAME


def test_it_holds_the_same_rows_without_digests_and_has_no_marker(tmp_path: Path) -> None:
    whole = opened(tmp_path / "whole")
    plain, _ = PlainStore.open(tmp_path / "plain", now_unix_s=NOW)
    for store in (whole, plain):
        store.commit(everything())
        store.close()
    assert not (tmp_path / "plain" / MARKER_NAME).exists()
    with (
        closing(sqlite3.connect(tmp_path / "whole" / DB_NAME)) as with_them,
        closing(sqlite3.connect(tmp_path / "plain" / DB_NAME)) as without,
    ):
        for table, columns in tables(with_them).items():
            if table == "meta":  # each run has its own instance
                continue
            query = f"SELECT {', '.join(name for name, _ in columns)} FROM {table}"
            assert with_them.execute(query).fetchall() == without.execute(query).fetchall()
            digests = f"SELECT count({DIGEST}) FROM {table}"
            assert without.execute(digests).fetchone() == (0,), table
