"""The spool on disk: order, bounds, and what a crash may have torn off."""

from pathlib import Path

import msgpack
import pytest

from wattline_agent.spool import MAX_BATCH, NAME, RollupSpool
from wattline_agent.statefile import StateUnusable
from wattline_protocol.ids import UnixTime
from wattline_protocol.wire.agent_messages import Rollup


def rollup(minute: int) -> Rollup:
    """A minute of a node with two GPUs."""
    return Rollup(UnixTime(60.0 * minute), 60.0, 1000 + minute, (400, 500), 90_000, 7)


def filled(directory: Path, count: int, **options: int) -> RollupSpool:
    """A spool with minutes 1 to `count`."""
    spool = RollupSpool(directory, **options)
    for minute in range(1, count + 1):
        spool.append(rollup(minute))
    return spool


def test_an_empty_spool_has_nothing(tmp_path: Path) -> None:
    assert RollupSpool(tmp_path).oldest() == (0, ())


def test_rollups_come_back_in_order_and_after_a_restart(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    assert RollupSpool(tmp_path).oldest() == (3, (rollup(1), rollup(2), rollup(3)))


def test_only_what_was_seen_is_dropped(tmp_path: Path) -> None:
    spool = filled(tmp_path, 5)
    spool.drop(3)
    assert spool.oldest() == (5, (rollup(4), rollup(5)))
    assert RollupSpool(tmp_path).oldest() == (5, (rollup(4), rollup(5)))


def test_an_old_acknowledgement_drops_nothing(tmp_path: Path) -> None:
    spool = filled(tmp_path, 5)
    spool.drop(3)
    spool.drop(2)
    assert len(spool) == 2


def test_numbers_grow_also_when_the_spool_was_emptied_and_reopened(tmp_path: Path) -> None:
    filled(tmp_path, 4).drop(4)
    again = RollupSpool(tmp_path)
    assert len(again) == 0
    again.append(rollup(9))
    assert again.oldest() == (5, (rollup(9),))
    assert RollupSpool(tmp_path).oldest() == (5, (rollup(9),))


def test_a_message_takes_a_bounded_number(tmp_path: Path) -> None:
    spool = filled(tmp_path, MAX_BATCH + 10)
    last, items = spool.oldest()
    assert last == len(items) == MAX_BATCH


def test_the_oldest_go_when_it_is_full_and_are_counted(tmp_path: Path) -> None:
    spool = filled(tmp_path, 25, max_rollups=20)
    assert len(spool) <= 20
    assert spool.dropped + len(spool) == 25
    assert spool.oldest(1)[1] == (rollup(spool.dropped + 1),)
    assert spool.oldest(100)[0] == 25


@pytest.mark.parametrize("cut", range(1, 120, 3))
def test_a_torn_tail_costs_the_torn_record_only(tmp_path: Path, cut: int) -> None:
    filled(tmp_path, 3)
    path = tmp_path / NAME
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    spool = RollupSpool(tmp_path)
    last, items = spool.oldest()
    assert items == tuple(rollup(minute) for minute in range(1, len(items) + 1))
    assert len(items) < 3
    assert last == len(items)
    spool.append(rollup(77))
    assert RollupSpool(tmp_path).oldest()[1] == (*items, rollup(77))


@pytest.mark.parametrize(
    "tail",
    [b"\xc1garbage", b"\x00" * 50, msgpack.packb({"start_unix_s": "x"}), b"\xdf\xff\xff\xff\xff"],
)
def test_garbage_at_the_end_is_cut_off(tmp_path: Path, tail: bytes) -> None:
    filled(tmp_path, 2)
    with (tmp_path / NAME).open("ab") as file:
        file.write(tail)
    spool = RollupSpool(tmp_path)
    assert spool.torn_bytes == len(tail)
    assert spool.oldest() == (2, (rollup(1), rollup(2)))


def test_a_file_that_is_no_spool_is_started_anew(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"\x93\x01\x02\x03 not a spool")
    spool = RollupSpool(tmp_path)
    assert spool.torn_bytes > 0
    spool.append(rollup(1))
    assert RollupSpool(tmp_path).oldest() == (1, (rollup(1),))


def test_the_file_is_private(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


def test_a_place_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(StateUnusable, match="accounting of the time without a scheduler"):
        RollupSpool(tmp_path / "spool")
