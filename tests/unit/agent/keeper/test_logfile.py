"""Logs in two files that take turns: offsets hold over rotation, at any crash point."""

import os
from pathlib import Path

import pytest

from wattline_agent.keeper.logfile import (
    INDEX,
    LOG,
    MIN_LIMIT_BYTES,
    OLD_LOG,
    LogWriter,
    NoLog,
    read_piece,
)

HALF = MIN_LIMIT_BYTES // 2


def numbered(start: int, count: int) -> bytes:
    """`count` bytes of a stream in which every 8 bytes name their own offset."""
    first, last = start // 8, (start + count) // 8 + 1
    whole = b"".join(b"%07d\n" % (word * 8) for word in range(first, last))
    return whole[start - first * 8 :][:count]


def write(prefix: str, total: int, step: int) -> None:
    writer = LogWriter(prefix, MIN_LIMIT_BYTES)
    for at in range(0, total, step):
        writer.write(numbered(at, min(step, total - at)))
    writer.close()


@pytest.mark.parametrize("total", [1, 100, HALF, HALF + 1, 2 * HALF, 2 * HALF + 1, 7 * HALF + 123])
def test_what_is_kept_is_the_newest_and_stands_at_its_offset(tmp_path: Path, total: int) -> None:
    write(f"{tmp_path}/1.", total, step=999)
    piece = read_piece(f"{tmp_path}/1.", 0, 10 * HALF)
    assert piece.end == total
    assert piece.data == numbered(piece.start, total - piece.start)
    assert total - piece.start <= MIN_LIMIT_BYTES
    assert piece.start == 0 or total - piece.start >= HALF
    tail = read_piece(f"{tmp_path}/1.", -50, 1000)
    assert tail.data == numbered(max(0, total - 50), min(50, total))


def test_pieces_follow_each_other_over_the_seam(tmp_path: Path) -> None:
    total = HALF + HALF // 2
    write(f"{tmp_path}/1.", total, step=4096)
    data, offset = b"", 0
    while offset < total:
        piece = read_piece(f"{tmp_path}/1.", offset, 1000)
        assert piece.start == offset
        data, offset = data + piece.data, offset + len(piece.data)
    assert data == numbered(0, total)


def test_a_writer_that_takes_over_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    total = 3 * HALF + 10
    for at in range(0, total, 10_000):
        writer = LogWriter(f"{tmp_path}/1.", MIN_LIMIT_BYTES)
        writer.write(numbered(at, min(10_000, total - at)))
        os.close(writer._file)  # died without closing in order
    piece = read_piece(f"{tmp_path}/1.", 0, 10 * HALF)
    assert (piece.end, piece.data) == (total, numbered(piece.start, total - piece.start))


def test_a_crash_between_renames_and_index_is_settled_by_reader_and_writer(tmp_path: Path) -> None:
    write(f"{tmp_path}/1.", HALF + 100, step=1000)
    stale = (tmp_path / f"1.{INDEX}").read_bytes()
    writer = LogWriter(f"{tmp_path}/1.", MIN_LIMIT_BYTES)
    writer.write(numbered(HALF + 100, HALF))  # rotates once more
    writer.close()
    (tmp_path / f"1.{INDEX}").write_bytes(stale)
    total = 2 * HALF + 100
    piece = read_piece(f"{tmp_path}/1.", 0, 10 * HALF)
    assert (piece.end, piece.data) == (total, numbered(piece.start, total - piece.start))
    writer = LogWriter(f"{tmp_path}/1.", MIN_LIMIT_BYTES)
    writer.write(numbered(total, 64))
    writer.close()
    after = read_piece(f"{tmp_path}/1.", -64, 64)
    assert (after.start, after.data) == (total, numbered(total, 64))


def test_a_crash_in_a_rotation_leaves_the_newest_half_at_its_offset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(f"{tmp_path}/1.", 2 * HALF, step=1000)
    writer = LogWriter(f"{tmp_path}/1.", MIN_LIMIT_BYTES)

    really_rename = os.rename

    def crash(old: str, new: str) -> None:
        if str(new).endswith(OLD_LOG):
            raise KeyboardInterrupt
        really_rename(old, new)

    monkeypatch.setattr(os, "rename", crash)
    with pytest.raises(KeyboardInterrupt):
        writer.write(b"lost")
    monkeypatch.setattr(os, "rename", really_rename)
    piece = read_piece(f"{tmp_path}/1.", 0, 10 * HALF)
    assert (piece.start, piece.data) == (HALF, numbered(HALF, HALF))
    writer = LogWriter(f"{tmp_path}/1.", MIN_LIMIT_BYTES)
    writer.write(numbered(2 * HALF, 64))
    after = read_piece(f"{tmp_path}/1.", 0, 10 * HALF)
    assert (after.start, after.data) == (HALF, numbered(HALF, HALF + 64))


def test_a_rotation_replaces_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ext4 would write it to disk at once."""
    renamed: list[str] = []
    really_rename = os.rename

    def rename(old: str, new: str) -> None:
        if not str(new).endswith(INDEX):
            assert not Path(new).exists()
            renamed.append(new)
        really_rename(old, new)

    monkeypatch.setattr(os, "rename", rename)
    write(f"{tmp_path}/1.", 3 * HALF, step=1000)
    assert len(renamed) == 4, "two rotations"


def test_a_full_disk_loses_output_is_counted_and_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LogWriter(f"{tmp_path}/1.", MIN_LIMIT_BYTES)
    writer.write(b"kept\n")
    really_write = os.write

    def full(file: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    writer.write(b"lost\n")
    monkeypatch.setattr(os, "write", really_write)
    writer.write(b"kept again\n")
    writer.close()
    piece = read_piece(f"{tmp_path}/1.", 0, 100)
    assert (piece.data, piece.lost) == (b"kept\nkept again\n", 5)


def test_what_writes_nothing_has_no_file(tmp_path: Path) -> None:
    write(f"{tmp_path}/1.", 0, step=1)
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_cannot_be_made_yet_is_made_later_and_says_what_it_lacks(
    tmp_path: Path,
) -> None:
    writer = LogWriter(f"{tmp_path}/later/1.", MIN_LIMIT_BYTES)
    writer.write(b"lost\n")
    (tmp_path / "later").mkdir()
    writer.write(b"kept\n")
    writer.close()
    piece = read_piece(f"{tmp_path}/later/1.", 0, 100)
    assert (piece.data, piece.lost) == (b"kept\n", 5)


def test_no_log_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoLog, match="has written no log"):
        read_piece(f"{tmp_path}/1.", 0, 10)


def test_the_end_of_the_older_file_that_a_power_failure_has_cut_is_skipped(tmp_path: Path) -> None:
    """Its name and the index were on disk, its last bytes were not: the agent reads the end of the
    log of each attempt that such a failure has ended."""
    total, cut = HALF + 100, 5000
    write(f"{tmp_path}/1.", total, step=1000)
    os.truncate(f"{tmp_path}/1.{OLD_LOG}", HALF - cut)
    tail = read_piece(f"{tmp_path}/1.", -(100 + cut // 2), 10 * HALF)
    assert (tail.start, tail.end, tail.data) == (HALF, total, numbered(HALF, 100))
    before = read_piece(f"{tmp_path}/1.", 0, 10 * HALF)
    assert (before.start, before.data) == (0, numbered(0, HALF - cut))
    after = read_piece(f"{tmp_path}/1.", len(before.data), 10 * HALF)
    assert (after.start, after.data) == (HALF, numbered(HALF, 100))


@pytest.mark.parametrize("name", [LOG, OLD_LOG, INDEX])
def test_what_is_no_file_is_no_log(tmp_path: Path, name: str) -> None:
    write(f"{tmp_path}/1.", HALF + 100, step=1000)
    (tmp_path / f"1.{name}").unlink()
    (tmp_path / f"1.{name}").mkdir()
    with pytest.raises(NoLog):
        read_piece(f"{tmp_path}/1.", 0, 10 * HALF)
