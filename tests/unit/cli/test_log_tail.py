"""The last lines of a log are found from its end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wattline.client.logtail as logtail
from wattline.client.logtail import tail_offset
from wattline_protocol.ids import AttemptNo, JobId, TaskNo, TaskRef
from wattline_protocol.wire.client_messages import Log


class KeptLog:
    """A log whose first bytes were cut, as an agent serves it."""

    def __init__(self, data: bytes, first: int = 0) -> None:
        self.data, self.first, self.reads = data, first, 0

    def read(self, offset: int, limit_bytes: int) -> Log:
        self.reads += 1
        end = len(self.data)
        start = min(max(offset if offset >= 0 else end + offset, self.first), end)
        note = b"[cut]\n" if 0 <= offset < start else b""
        data = self.data[start : start + limit_bytes]
        ref = TaskRef(JobId(1), TaskNo(0), AttemptNo(1))
        return Log(ref, note + data, start + len(data), start + len(data) >= end, False)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logtail, "MAX_LOG_CHUNK_BYTES", 16)


def last_lines(data: bytes, count: int) -> bytes:
    return b"".join(data.splitlines(keepends=True)[-count:]) if count else b""


@given(st.lists(st.sampled_from([b"", b"a", b"bc" * 9, b"d"])), st.booleans(), st.integers(0, 9))
def test_they_are_those_that_tail_prints(lines: list[bytes], is_open: bool, count: int) -> None:
    data = b"".join(line + b"\n" for line in lines) + (b"open" if is_open else b"")
    log = KeptLog(data)
    assert data[tail_offset(log.read, count) :] == last_lines(data, count)


def test_a_log_with_fewer_lines_is_read_from_its_oldest_byte() -> None:
    log = KeptLog(b"x" * 100 + b"\nlast\n", first=50)
    assert tail_offset(log.read, 5) <= 50


def test_a_long_log_is_not_read_whole() -> None:
    log = KeptLog(b"line\n" * 10_000)
    tail_offset(log.read, 2)
    assert log.reads == 1
