"""Files of ranks in a task's directory, which any program of the task may have written."""

import json
from pathlib import Path

from wattline.rank import FAILURE_FILE, MAX_ERROR_CHARS, place_name
from wattline_agent.executor.rank_files import MAX_PLACES_BYTES, read_failure, read_places

WIDE = "\U0001f600"
"""Four bytes in a message."""


def left(folder: Path, name: str, **values: object) -> None:
    (folder / name).write_text(json.dumps(values))


def test_places_of_many_ranks_are_bounded_in_all(tmp_path: Path) -> None:
    for rank in range(1_024):
        left(tmp_path, place_name(rank), rank=rank, place=WIDE * 600)
    found = read_places(str(tmp_path), 1_024)
    assert [one.rank for one in found] == [*range(MAX_PLACES_BYTES // (4 * 600))]
    left(tmp_path, place_name(0), rank=0, place="x" * 8_000)
    assert len(read_places(str(tmp_path), 1)[0].place) == MAX_ERROR_CHARS


def test_usual_places_of_a_thousand_ranks_are_all_read(tmp_path: Path) -> None:
    for rank in range(1_000):
        left(tmp_path, place_name(rank), rank=rank, place="/srv/ada/train.py:17 in all_reduce")
    left(tmp_path, place_name(3), rank=3, place=7)
    assert {one.rank for one in read_places(str(tmp_path), 1_000)} == {*range(1_000)} - {3}


def test_the_error_of_the_first_failure_is_bounded(tmp_path: Path) -> None:
    left(tmp_path, FAILURE_FILE, rank=1, unix_s=1.0, error=WIDE * 8_000)
    found = read_failure(str(tmp_path))
    assert found is not None
    assert len(found.error) == MAX_ERROR_CHARS
