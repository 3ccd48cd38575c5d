"""The notice file of an attempt, as the next agent reads it."""

from pathlib import Path

import pytest

from wattline_agent.executor.notice_file import MAX_BYTES, put_notice, read_notice
from wattline_protocol.ids import UnixTime
from wattline_protocol.wire.task_order import Notice


def test_what_was_put_is_read_back(tmp_path: Path) -> None:
    notice = Notice("drain", UnixTime(7.0), "n1 is drained")
    put_notice(str(tmp_path / "notice"), notice)
    assert read_notice(str(tmp_path / "notice")) == notice


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b'{"\xff": 1}', b'{"x": ' + b"[" * MAX_BYTES],
    ids=["empty", "torn", "no-text", "nested"],
)
def test_a_file_that_is_no_notice_keeps_no_agent_from_starting(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "notice").write_bytes(data)
    assert read_notice(str(tmp_path / "notice")) is None
