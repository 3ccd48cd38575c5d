"""Small records on disk, such as the index of a log: what is none is as good as absent."""

from pathlib import Path

import pytest

from wattline_agent.keeper.records import MAX_RECORD_BYTES, read_record


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff", b"7" * (MAX_RECORD_BYTES + 1), b"[" * 60_000],
    ids=["empty", "torn", "no-text", "too-large", "nested"],
)
def test_a_file_that_is_no_record_is_as_good_as_absent(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "record").write_bytes(data)
    assert read_record(tmp_path / "record") is None
