"""What a restored backup begins with: the epoch, numbers, and what is kept of before."""

from pathlib import Path

import msgspec
import pytest

from support.core import records
from support.store.stores import NOW, everything, opened
from wattline_protocol.ids import Epoch, JobId, Sequence
from wattline_protocol.job.selection import Span, parse_jobs
from wattline_scheduler.records import BookRecord, RecoveryRecord, SentLease
from wattline_scheduler.store.errors import StoreIsBackup
from wattline_scheduler.store.store import (
    NO_EARLIER_UNIX_S,
    NUMBERS_PER_S,
    RECOVERY_NUMBER_GAP,
    Store,
)


def test_a_backup_is_whole_and_starts_only_with_recover(tmp_path: Path) -> None:
    store = opened(tmp_path / "state")
    store.commit(everything())
    (tmp_path / "restored").mkdir()
    store.backup(tmp_path / "restored" / "wattline.db")
    store.commit([records.job(3)])
    store.close()

    with pytest.raises(StoreIsBackup, match="--recover"):
        opened(tmp_path / "restored")
    store, saved = Store.open(tmp_path / "restored", now_unix_s=NOW, recover=True)
    store.close()

    assert [job.id for job in saved.jobs] == [1, 2]
    assert saved.epoch >= int(NOW)
    assert {book.standing for book in saved.books} == {"full"}
    since_2023_s = saved.epoch - NO_EARLIER_UNIX_S
    assert saved.next_job == saved.next_event == since_2023_s * NUMBERS_PER_S + 1
    assert saved.attempt_floor == saved.epoch
    assert saved.is_recovering
    assert Store.open(tmp_path / "restored", now_unix_s=NOW)[1].epoch == saved.epoch + 1


def test_a_node_that_was_off_in_the_backup_counts_again(tmp_path: Path) -> None:
    store = opened(tmp_path)
    off = msgspec.structs.replace(records.node(), is_off=True, off_reason="repair")
    store.commit([off, BookRecord(node=off.node, standing="off")])
    store.close()
    store, saved = Store.open(tmp_path, now_unix_s=NOW, recover=True)
    store.close()
    assert [(n.is_off, n.off_reason) for n in saved.nodes] == [(False, "")]
    assert [book.standing for book in saved.books] == ["full"]


def test_a_recovery_is_over_when_the_core_says_so(tmp_path: Path) -> None:
    store = opened(tmp_path, recover=True)
    store.commit([RecoveryRecord(is_over=True)])
    store.close()
    store, saved = Store.open(tmp_path, now_unix_s=NOW)
    store.close()
    assert not saved.is_recovering
    assert saved.attempt_floor == int(NOW)


def test_a_clock_that_is_wrong_still_skips_numbers(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([records.job(3)])
    store.close()
    store, saved = Store.open(tmp_path, now_unix_s=5.0, recover=True)
    store.close()
    assert saved.next_job == 3 + RECOVERY_NUMBER_GAP + 1


def test_a_backup_restored_twice_gives_out_no_number_twice(tmp_path: Path) -> None:
    store, first = Store.open(tmp_path / "first", now_unix_s=NOW, recover=True)
    (tmp_path / "again").mkdir()
    store.backup(tmp_path / "again" / "wattline.db")
    store.close()
    store, saved = Store.open(tmp_path / "again", now_unix_s=NOW + 60.0, recover=True)
    store.close()
    assert saved.next_job > first.next_job + 60 * 1_000, "however many a second were submitted"
    assert saved.next_event > first.next_event + 60 * 1_000
    store, saved = Store.open(tmp_path / "again", now_unix_s=NOW + 61.0, recover=True)
    store.close()
    assert saved.next_job > first.next_job + 61 * 1_000


def test_the_newest_events_are_kept_also_where_a_recovery_skips_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wattline_scheduler.store.retention.EVENTS_KEPT", 5)
    store = opened(tmp_path)
    store.commit([records.event(seq) for seq in range(1, 5)])
    store.close()
    store, saved = Store.open(tmp_path, now_unix_s=NOW, recover=True)
    newest = [saved.next_event + more for more in range(3)]
    store.commit([records.event(seq) for seq in newest])
    store.tidy(NOW)
    assert [event.seq for event in store.events(0, 100)] == [3, 4, *newest]
    assert [event.seq for event in store.events(-4, 100)] == [4, *newest]
    assert [event.seq for event in store.events(-9, 100)] == [3, 4, *newest]
    store.close()


@pytest.mark.parametrize("year_unix_s", [1.8e9, 4e9])
def test_jobs_after_a_recovery_can_be_named(tmp_path: Path, year_unix_s: float) -> None:
    """Ten thousand numbers a second make long ones: 13 digits from 2027 on."""
    store, saved = Store.open(tmp_path, now_unix_s=year_unix_s + 1.0, recover=True)
    store.close()
    number = saved.next_job
    assert parse_jobs(f"{number}-{number + 1}") == (Span(number, JobId(number + 1)),)


def test_recovery_keeps_the_leases_that_might_be_in_force(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([records.book(acked_mw=1_000, sent_mw=9_000)])
    store.close()
    store, saved = Store.open(tmp_path, now_unix_s=NOW, recover=True)
    store.close()
    (book,) = saved.books
    sent = SentLease(Epoch(1), records.book().sent[0].incarnation, Sequence(9), 9_000)
    assert (book.standing, book.acked_mw, book.sent) == ("full", 1_000, (sent,))


def test_a_clock_in_the_past_does_not_lower_the_epoch_of_a_recovery(tmp_path: Path) -> None:
    opened(tmp_path, recover=True).close()
    store, saved = Store.open(tmp_path, now_unix_s=5.0, recover=True)
    store.close()
    assert saved.epoch == int(NOW) + 1
