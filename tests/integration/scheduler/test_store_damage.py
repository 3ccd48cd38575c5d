"""A damaged store is refused with what to do, or starts with every record as acknowledged."""

import os
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support.core import records
from support.store import damage
from support.store.stores import NOW, everything
from wattline_scheduler.store import verify
from wattline_scheduler.store.errors import StoreError
from wattline_scheduler.store.store import Store
from wattline_scheduler.store.verify import DB_NAME

SEEDS = int(os.environ.get("WATTLINE_DAMAGE_SEEDS", "45"))
"""How many to try; `WATTLINE_DAMAGE_SEEDS=200` for a thorough look."""

JOBS = 300
IN_THE_LOG = 60
"""Commits that stand in the log alone: fewer than make SQLite write it back."""


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, damage.Acknowledged]]:
    """A store of two runs, the second one killed with a full log, and what it held."""
    at = tmp_path_factory.mktemp("store")
    store, _ = Store.open(at / "state", now_unix_s=NOW)
    store.commit([*everything(), *(records.job(n) for n in range(3, JOBS))])
    store.close()
    store, _ = Store.open(at / "state", now_unix_s=NOW)
    for number in range(JOBS, JOBS + IN_THE_LOG):
        gang, attempt = records.gang(number), records.attempt(number)
        events = [records.event(number)] if number % 3 else []  # the others are quiet commits
        book = records.book(acked_mw=number)
        store.commit([records.job(number), gang, attempt, book, *events])
    damage.crash_copy(at / "state", at / "crashed")
    with closing(sqlite3.connect(at / "state" / DB_NAME)) as reader:
        held = damage.acknowledged(reader)
    yield at / "crashed", held
    store.close()


def outcome(directory: Path) -> tuple[StoreError | None, damage.Acknowledged]:
    """The refusal of a start, or what the started store holds."""
    try:
        store, _ = Store.open(directory, now_unix_s=NOW)
    except StoreError as error:
        return error, {}
    with closing(store), closing(sqlite3.connect(directory / DB_NAME)) as reader:
        return None, damage.acknowledged(reader)


def test_without_damage_everything_is_there(
    crashed: tuple[Path, damage.Acknowledged], tmp_path: Path
) -> None:
    damage.crash_copy(crashed[0], tmp_path / "state")
    refusal, found = outcome(tmp_path / "state")
    assert refusal is None
    assert lost(crashed[1], found) == {}


def lost(before: damage.Acknowledged, after: damage.Acknowledged) -> dict[str, int]:
    """How many records of each table are not there as they were; `meta` changes at each start."""
    missing = {table: len(rows - after.get(table, set())) for table, rows in before.items()}
    return {table: count for table, count in missing.items() if count and table != "meta"}


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_damage_starts_with_a_record_lost_or_changed(
    crashed: tuple[Path, damage.Acknowledged],
    tmp_path: Path,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if seed % 2:
        monkeypatch.setattr(verify, "ALONE_MIN_BYTES", 0)  # as a large store is
    chance = random.Random(seed)
    kind = damage.KINDS[seed % len(damage.KINDS)]
    damage.crash_copy(crashed[0], tmp_path / "state")
    kind(tmp_path / "state", chance)
    refusal, found = outcome(tmp_path / "state")
    if refusal is None:
        assert lost(crashed[1], found) == {}, kind
    else:
        assert "--recover" in str(refusal), (kind, refusal)
