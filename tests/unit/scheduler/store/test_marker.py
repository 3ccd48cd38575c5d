"""The marker beside a store is read as far as a marker goes."""

from pathlib import Path

import pytest

from wattline_scheduler.store.errors import StoreIncomplete
from wattline_scheduler.store.marker import MARKER_NAME, MAX_READ_BYTES, read_mark


def test_what_has_no_end_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / MARKER_NAME
    path.symlink_to("/dev/zero")
    with pytest.raises(StoreIncomplete, match="is damaged"):
        read_mark(path)


def test_what_is_longer_than_a_marker_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / MARKER_NAME
    path.write_bytes(b"w" * (MAX_READ_BYTES + 1))
    with pytest.raises(StoreIncomplete, match="is damaged"):
        read_mark(path)
