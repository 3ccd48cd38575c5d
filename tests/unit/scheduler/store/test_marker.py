"""The marker beside a store: what it holds, and which stores it refuses."""

import shutil
import sqlite3
from contextlib import closing
from itertools import accumulate, compress, pairwise, product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.core import records
from support.store import damage
from support.store.stores import NOW, opened
from wattline_scheduler.store.errors import StoreIncomplete
from wattline_scheduler.store.marker import (
    COPIES,
    MARKER_NAME,
    NO_MARK,
    Mark,
    Marker,
    mark_of,
    read_mark,
)
from wattline_scheduler.store.store import Store
from wattline_scheduler.store.tables import Storable
from wattline_scheduler.store.verify import DB_NAME, open_to_read

FIRST, SECOND = Mark(1, 1, 0), Mark(1, 1, 8)
WORD = 8


def test_what_has_no_end_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / MARKER_NAME
    path.symlink_to("/dev/zero")
    with pytest.raises(StoreIncomplete, match="is damaged"):
        read_mark(path)


def marked(path: Path, *marks: Mark) -> None:
    """Write the marks in turn to a new marker."""
    marker = Marker(path, marks[0], is_new=True)
    for mark in marks[1:]:
        marker.write(mark)
    marker.close()


def image(path: Path, mark: Mark) -> bytes:
    """The file with a mark."""
    marked(path, NO_MARK, mark)
    assert read_mark(path) == mark
    return path.read_bytes()


def test_what_is_no_marker_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / MARKER_NAME
    marked(path, FIRST)
    whole = path.read_bytes()
    for content in (whole + b"\n", whole[:-1], b"", bytes(len(whole)), whole[::-1]):
        path.write_bytes(content)
        with pytest.raises(StoreIncomplete, match="is damaged"):
            read_mark(path)


def test_an_interrupted_write_leaves_the_old_number_or_the_new_one(tmp_path: Path) -> None:
    """Each number is written in a few steps: whichever of them reach the disk, two agree."""
    path = tmp_path / MARKER_NAME
    before, after = (image(path, mark) for mark in (FIRST, SECOND))
    words = [at for at in range(0, len(before), WORD) if before[at:][:WORD] != after[at:][:WORD]]
    assert len(words) == COPIES
    for steps in product((False, True), repeat=COPIES):
        content = bytearray(before)
        for at in compress(words, steps):
            content[at : at + WORD] = after[at : at + WORD]
        path.write_bytes(content)
        assert read_mark(path) == (SECOND if sum(steps) > 1 else FIRST)


def test_a_flipped_bit_changes_no_number(tmp_path: Path) -> None:
    path = tmp_path / MARKER_NAME
    whole = image(path, SECOND)
    for bit in range(8 * WORD, 8 * len(whole)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        assert read_mark(path) == SECOND


def test_copies_that_all_differ_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / MARKER_NAME
    content = bytearray(image(path, SECOND))
    content[-WORD], content[-2 * WORD] = 6, 7
    path.write_bytes(content)
    with pytest.raises(StoreIncomplete, match="is damaged"):
        read_mark(path)


@given(st.lists(st.integers(0, 9)))
def test_each_commit_advances_the_mark_whatever_events_it_has(newest_events: list[int]) -> None:
    marks = list(accumulate(newest_events, Mark.after, initial=NO_MARK))
    for before, after in pairwise(marks):
        assert before.is_behind(after)
        assert not after.is_behind(before)


def commits() -> list[list[Storable]]:
    """With events and without, in every order; one with an event that is on record already."""
    return [
        [records.job(1), records.event(1)],
        [records.event(3), records.event(2)],
        [records.gang(1)],
        [records.gang(2)],
        [records.event(3)],
        [records.event(4)],
        [records.book()],
    ]


def test_a_store_that_lacks_any_commit_is_refused(tmp_path: Path) -> None:
    store = opened(tmp_path / "state")
    copies: list[Path] = []
    for number, batch in enumerate(commits()):
        store.commit(batch)
        copies.append(tmp_path / str(number))
        damage.crash_copy(tmp_path / "state", copies[-1])
    store.close()
    held_by = [read_mark(copy / MARKER_NAME) for copy in copies]
    for at, copy in enumerate(copies):
        with closing(open_to_read(copy / DB_NAME)) as reader:
            assert mark_of(reader) == held_by[at], "exact after a kill"
        for later in copies[at + 1 :]:
            state = tmp_path / f"{copy.name} beside the marker of {later.name}"
            shutil.copytree(copy, state)
            shutil.copyfile(later / MARKER_NAME, state / MARKER_NAME)
            with pytest.raises(StoreIncomplete, match=r"lost, or an older copy.*--recover"):
                opened(state)
    for earlier in copies[:-1]:  # as after a loss of power
        shutil.copyfile(earlier / MARKER_NAME, copies[-1] / MARKER_NAME)
        state = tmp_path / f"the last with the marker of {earlier.name}"
        shutil.copytree(copies[-1], state)
        opened(state).close()


def test_only_a_quiet_commit_writes_the_row_of_meta(tmp_path: Path) -> None:
    """It would add a page to the log of each commit."""
    store = opened(tmp_path)
    with closing(open_to_read(tmp_path / DB_NAME)) as reader:
        for batch in commits():
            before = reader.execute("SELECT * FROM meta").fetchone(), mark_of(reader)
            store.commit(batch)
            after = reader.execute("SELECT * FROM meta").fetchone(), mark_of(reader)
            assert (before[0] == after[0]) is (after[1].event > before[1].event)
    store.close()


def test_numbers_of_a_recovery_continue_above_the_marker(tmp_path: Path) -> None:
    """Also with a clock that says too little to number by."""
    store = opened(tmp_path / "state")
    store.commit([records.event(1)])
    store.backup(tmp_path / "backup.db")
    store.commit([records.event(5_000_000), records.job(1)])
    store.commit([records.gang(1)])
    store.close()
    before = read_mark(tmp_path / "state" / MARKER_NAME)
    assert before is not None
    (tmp_path / "backup.db").replace(tmp_path / "state" / DB_NAME)
    store, saved = Store.open(tmp_path / "state", now_unix_s=5.0, recover=True)
    store.close()
    after = read_mark(tmp_path / "state" / MARKER_NAME)
    assert after is not None
    assert min(after.epoch - before.epoch, after.event - before.event) > 0
    assert after.quiet_commits > before.quiet_commits
    assert saved.next_event == after.event + 1
    opened(tmp_path / "state").close()


def test_events_that_were_deleted_by_hand_are_missing(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([records.event(1), records.event(2)])
    store.close()
    with closing(sqlite3.connect(tmp_path / DB_NAME, isolation_level=None)) as db:
        db.execute("DELETE FROM events")
    with pytest.raises(StoreIncomplete, match=r"event 0 .*event 2 "):
        Store.open(tmp_path, now_unix_s=NOW)
