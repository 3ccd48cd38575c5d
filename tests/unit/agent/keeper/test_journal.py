"""The journal of attempts: the newest line counts, torn ones do not, a full one is begun anew."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wattline_agent.keeper import journal
from wattline_agent.keeper.journal import Fact, Journal, read_journal


def _fact(number: int, value: int = 0) -> Fact:
    return f"{number}.0.1", b'{"code": %d}' % value


@contextmanager
def files_end_at(size_bytes: int) -> Iterator[None]:
    """A write across it takes what is below it, and the next one fails, as on a disk that fills."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_newest_of_each_key_is_read_back_and_null_forgets(tmp_path: Path) -> None:
    file = Journal(tmp_path / "facts", is_synced=True)
    file.put([_fact(1), _fact(2)])
    file.put([_fact(1, 7), ("2.0.1", None), _fact(3)])
    assert read_journal(tmp_path / "facts") == {"1.0.1": {"code": 7}, "3.0.1": {"code": 0}}


def test_no_journal_knows_nothing(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "facts") == {}
    Journal(tmp_path / "facts")
    assert list(tmp_path.iterdir()) == []


def test_its_size_never_changes_so_that_a_sync_moves_no_metadata(tmp_path: Path) -> None:
    file = Journal(tmp_path / "facts", is_synced=True)
    for number in range(100):
        file.put([_fact(number)])
        assert (tmp_path / "facts").stat().st_size == journal.SIZE_BYTES


@pytest.mark.parametrize(
    "rubbish",
    [b"", b"\n", b"7\n", b"[1, 2]\n", b'{"a": 1}\n', b"\xff\n", b"[" * 20_000 + b"\n"],
    ids=["nothing", "empty", "a-number", "two-numbers", "a-map", "no-text", "nested"],
)
def test_a_torn_line_counts_as_none_and_the_next_writer_overwrites_it(
    tmp_path: Path, rubbish: bytes
) -> None:
    Journal(tmp_path / "facts").put([_fact(1), _fact(2)])
    data = (tmp_path / "facts").read_bytes()
    cut = data.index(b"2.0.1") + 8
    (tmp_path / "facts").write_bytes((data[:cut] + rubbish).ljust(len(data), b"\0"))
    assert set(read_journal(tmp_path / "facts")) == {"1.0.1"}
    Journal(tmp_path / "facts").put([_fact(3)])
    assert set(read_journal(tmp_path / "facts")) == {"1.0.1", "3.0.1"}


@pytest.mark.parametrize("damaged", [b"1.0", b"1.0.x", b'1.\\"0.1', b"1.0.\\ud800", b""])
def test_a_key_that_is_no_attempts_counts_for_nothing_and_others_do(
    tmp_path: Path, damaged: bytes
) -> None:
    """Put again, to delete it, it would be refused or break the lines behind it."""
    (tmp_path / "facts").write_bytes(b'["%b",{}]\n["2.0.1",{}]\n'.ljust(500, b"\0") % damaged)
    assert set(read_journal(tmp_path / "facts")) == {"2.0.1"}
    Journal(tmp_path / "facts").put([_fact(3)])
    assert set(read_journal(tmp_path / "facts")) == {"2.0.1", "3.0.1"}


@pytest.mark.parametrize("is_synced", [True, False])
def test_a_full_journal_goes_on_with_what_still_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_synced: bool
) -> None:
    monkeypatch.setattr(journal, "SIZE_BYTES", 120)
    file = Journal(tmp_path / "facts", is_synced=is_synced)
    file.put([_fact(0, 42)])
    for number in range(1, 50):
        file.put([_fact(number)])
        assert set(read_journal(tmp_path / "facts")) == {"0.0.1", f"{number}.0.1"}
        file.put([(f"{number}.0.1", None)])
    assert (tmp_path / "facts").stat().st_size <= 240
    assert [entry.name for entry in tmp_path.iterdir()] == ["facts"]


def test_it_grows_where_what_still_counts_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SIZE_BYTES", 120)
    file = Journal(tmp_path / "facts")
    file.put([_fact(number) for number in range(50)])
    file.put([_fact(number) for number in range(50, 60)])
    assert list(read_journal(tmp_path / "facts")) == [f"{number}.0.1" for number in range(60)]


def test_what_could_not_be_written_does_not_count_and_can_be_put_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Journal(tmp_path / "facts", is_synced=True)
    file.put([_fact(1)])

    def broken(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", broken)
        with pytest.raises(OSError, match="No space"):
            file.put([_fact(2)])
    file.put([_fact(3)])
    assert set(read_journal(tmp_path / "facts")) == {"1.0.1", "3.0.1"}


def test_a_rewrite_that_fails_leaves_the_old_file_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SIZE_BYTES", 60)
    file = Journal(tmp_path / "facts")
    file.put([_fact(1)])
    (tmp_path / "facts.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        file.put([_fact(2), _fact(3)])
    assert set(read_journal(tmp_path / "facts")) == {"1.0.1"}
    (tmp_path / "facts.new").rmdir()
    file.put([_fact(2), _fact(3)])
    assert set(read_journal(tmp_path / "facts")) == {"1.0.1", "2.0.1", "3.0.1"}


def test_a_rewrite_that_the_disk_takes_in_part_leaves_the_old_file_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SIZE_BYTES", 120)
    file = Journal(tmp_path / "facts")
    file.put([_fact(1), _fact(2), _fact(3), _fact(4)])
    with files_end_at(50), pytest.raises(OSError, match="too large"):
        file.put([_fact(number) for number in range(5, 20)])
    assert set(read_journal(tmp_path / "facts")) == {"1.0.1", "2.0.1", "3.0.1", "4.0.1"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["facts"], "its space is free again"
    file.put([_fact(5)])
    assert set(read_journal(tmp_path / "facts")) == {f"{number}.0.1" for number in range(1, 6)}


def test_a_line_that_the_disk_takes_in_part_does_not_count_and_no_later_one_follows_it(
    tmp_path: Path,
) -> None:
    file = Journal(tmp_path / "facts")
    file.put([_fact(1)])
    with files_end_at(40), pytest.raises(OSError, match="too large"):
        file.put([_fact(2)])
    file.put([_fact(3)])
    assert set(read_journal(tmp_path / "facts")) == {"1.0.1", "3.0.1"}
