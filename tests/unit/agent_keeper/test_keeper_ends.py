"""The journal of ends: a batch a sync, read up to what was told, begun anew when it is full."""

from pathlib import Path

import pytest

from wattline_agent.keeper import ends
from wattline_agent.keeper.ends import EndsJournal, read_ends


def _end(number: int) -> ends.End:
    return f"{number}.0.1", {"kind": "exited", "code": number}


def test_what_was_put_is_read_back_in_order(tmp_path: Path) -> None:
    journal = EndsJournal(tmp_path / "ends")
    journal.put([_end(1), _end(2)])
    journal.put([_end(3)])
    assert list(read_ends(tmp_path / "ends")) == [_end(1), _end(2), _end(3)]


def test_no_journal_vouches_for_nothing(tmp_path: Path) -> None:
    assert list(read_ends(tmp_path / "ends")) == []


def test_its_size_never_changes_so_that_a_sync_moves_no_metadata(tmp_path: Path) -> None:
    journal = EndsJournal(tmp_path / "ends")
    before = (tmp_path / "ends").stat().st_size
    for number in range(100):
        journal.put([_end(number)])
    assert (tmp_path / "ends").stat().st_size == before == ends.SIZE_BYTES


def test_a_torn_line_was_told_to_nobody(tmp_path: Path) -> None:
    EndsJournal(tmp_path / "ends").put([_end(1), _end(2)])
    data = (tmp_path / "ends").read_bytes()
    cut = data.index(b"2.0.1") + 8
    (tmp_path / "ends").write_bytes(data[:cut] + bytes(len(data) - cut))
    assert list(read_ends(tmp_path / "ends")) == [_end(1)]


def test_a_full_journal_syncs_what_it_vouches_for_and_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ends, "SIZE_BYTES", 200)
    synced: list[int] = []

    class Libc:
        @staticmethod
        def syncfs(file: int) -> int:
            synced.append(file)
            return 0

    monkeypatch.setattr(ends, "_libc", Libc)
    journal = EndsJournal(tmp_path / "ends")
    for number in range(1, 5):
        journal.put([_end(number)])
    assert not synced
    journal.put([_end(5)])
    assert len(synced) == 1
    assert list(read_ends(tmp_path / "ends")) == [_end(5)]


def test_a_new_writer_syncs_before_it_overwrites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    EndsJournal(tmp_path / "ends").put([_end(1)])

    class Libc:
        @staticmethod
        def syncfs(_: int) -> int:
            assert list(read_ends(tmp_path / "ends")) == [_end(1)]
            return 0

    monkeypatch.setattr(ends, "_libc", Libc)
    EndsJournal(tmp_path / "ends").put([_end(2)])
    assert list(read_ends(tmp_path / "ends")) == [_end(2)]


def test_a_file_system_that_does_not_sync_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    EndsJournal(tmp_path / "ends").put([_end(1)])

    class Libc:
        @staticmethod
        def syncfs(_: int) -> int:
            return -1

    monkeypatch.setattr(ends, "_libc", Libc)
    with pytest.raises(OSError):
        EndsJournal(tmp_path / "ends")
    assert list(read_ends(tmp_path / "ends")) == [_end(1)]
