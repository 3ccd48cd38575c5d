"""A store whose files are deleted or replaced while it is open."""

import shutil
from pathlib import Path

import pytest

from support.core import records
from support.store.stores import opened
from wattline_scheduler.store.errors import StoreReplaced
from wattline_scheduler.store.marker import MARKER_NAME
from wattline_scheduler.store.verify import DB_NAME

FILES = (DB_NAME, f"{DB_NAME}-wal", MARKER_NAME)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_gone_is_named(tmp_path: Path, name: str) -> None:
    store = opened(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(StoreReplaced, match=name):
        store.settle()


@pytest.mark.parametrize("name", FILES)
def test_a_copy_in_its_place_is_another_file(tmp_path: Path, name: str) -> None:
    store = opened(tmp_path)
    shutil.copy(tmp_path / name, tmp_path / "copy")
    (tmp_path / "copy").replace(tmp_path / name)
    with pytest.raises(StoreReplaced, match=name):
        store.settle()


def test_commits_and_backups_leave_all_in_place(tmp_path: Path) -> None:
    store = opened(tmp_path / "state")
    for number in range(1, 100):
        store.commit([records.job(number), records.event(number)])
    store.backup(tmp_path / "backup.db")
    store.settle()
    store.close()
    opened(tmp_path / "state").settle()
