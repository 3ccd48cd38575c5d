"""Pages of a rotated log that processes write: each wanted line once, newest first."""

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline_protocol.views import request_logs
from wattline_protocol.views.request_logs import (
    LogFilter,
    LoggedRequest,
    LogPosition,
    ReportLogPage,
)
from wattline_runtime.log_reading import log_pages
from wattline_runtime.log_reading.log_pages import SLACK_S, read_page, rotated

START_S = 1_700_000_000.0

encode = msgspec.json.encode


@st.composite
def lines(draw: st.DrawFn) -> list[LoggedRequest]:
    """In the order of the file: their ends are out of order by less than the slack."""
    count = draw(st.integers(0, 60))
    found: list[LoggedRequest] = []
    logged_s = START_S
    for number in range(count):
        logged_s += draw(st.sampled_from([0.0, 0.001, 0.5, 7.0, 60.0]))
        ended_s = logged_s - draw(st.sampled_from([0.0, 0.25, SLACK_S / 2]))
        latency_ms = draw(st.sampled_from([0.5, 900.0, 600_000.0]))
        began = datetime.fromtimestamp(ended_s - latency_ms / 1000, UTC)
        found.append(
            LoggedRequest(
                time=began.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                id=f"{number:08x}",
                status=draw(st.sampled_from([200, 429, 503, 504])),
                latency_ms=latency_ms,
                service=draw(st.sampled_from(["echo", "echo", "other", None])),
                route=draw(st.sampled_from([None, None, "echo", "public"])),
                key=draw(st.sampled_from(["shop", "web", None])),
                owner=draw(st.sampled_from(["ada", "bob", None])),
            )
        )
    return found


def write(path: Path, found: list[LoggedRequest], per_file: int) -> None:
    """Oldest first; each file is as old as its last line. Some of it is no line."""
    parts = [found[n : n + per_file] for n in range(0, len(found), per_file)]
    for number, part in enumerate(parts):
        is_last = number == len(parts) - 1
        file = path if is_last else path.with_name(f"{path.name}.{number:08}Z")
        rows = [encode(line) for line in part]
        rows.insert(len(rows) // 2, b'{"time":"2026-01-01T0')
        rows.insert(len(rows) // 2, encode(msgspec.structs.replace(part[0], id="x" * 129)))
        file.write_bytes(b"\n".join(rows) + b"\n")
        written_s = max(line.position.ended_unix_s for line in found[: (number + 1) * per_file])
        os.utime(file, (written_s, written_s))


def matches(line: LoggedRequest, wanted: LogFilter, owners: tuple[str, ...]) -> bool:
    statuses = {"": True, "5xx": line.status >= 500, "429": line.status == 429}
    return (
        wanted.service in (line.service, line.route)
        and line.position.ended_unix_s >= wanted.since_unix_s
        and (not wanted.key or line.key == wanted.key)
        and (not owners or line.owner in owners)
        and statuses[wanted.status]
    )


@given(
    lines(),
    st.integers(1, 20),
    st.integers(1, 7),
    st.floats(0.0, 600.0),
    st.sampled_from(["", "shop"]),
    st.sampled_from(["", "5xx", "429"]),
    st.sampled_from([(), ("ada",), ("ada", "bob")]),
    st.sampled_from([64, 1024 * 1024]),
)
def test_each_wanted_line_is_in_one_page(
    found: list[LoggedRequest],
    per_file: int,
    limit: int,
    since_s: float,
    key: str,
    status: str,
    owners: tuple[str, ...],
    page_bytes: int,
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_pages, "MAX_PAGE_BYTES", page_bytes)
        patch.setattr(log_pages, "BLOCK_BYTES", 128)
        patch.setattr(log_pages, "MAX_LINE_BYTES", 512)
        path = Path(folder) / "access.log"
        write(path, found, per_file)
        wanted = LogFilter("echo", START_S + since_s, "requests", key, status, limit)
        got: list[str] = []
        before: LogPosition | None = None
        while True:
            part = msgspec.structs.replace(wanted, before=before)
            page = read_page(rotated(path), part, owners, 1, 1e9, lambda: 0.0)
            assert len(page.rows) <= limit
            msgspec.msgpack.decode(msgspec.msgpack.encode(page), type=ReportLogPage)
            got += [msgspec.json.decode(row.line)["id"] for row in page.rows]
            if page.reached is None:
                break
            assert before is None or page.reached < before
            before = page.reached
    due = [line for line in found if matches(line, wanted, owners)]
    due.sort(key=lambda line: line.position, reverse=True)
    assert got == [line.id for line in due]


@given(lines(), st.integers(1, 20))
def test_a_page_whose_time_is_over_is_continued_without_a_gap(
    found: list[LoggedRequest], per_file: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_pages, "CHECK_LINES", 1)
        path = Path(folder) / "access.log"
        write(path, found, per_file)
        wanted = LogFilter("echo", 0.0, limit=request_logs.MAX_ROWS)
        got: list[str] = []
        for lines_of_time in (3, 10_000):
            ticks = iter(range(100_000))
            clock = lambda ticks=ticks: float(next(ticks))  # noqa: E731
            page = read_page(rotated(path), wanted, (), 1, lines_of_time, clock)
            got += [msgspec.json.decode(row.line)["id"] for row in page.rows]
            if page.reached is None:
                break
            wanted = msgspec.structs.replace(wanted, before=page.reached)
    due = sorted(
        (line for line in found if "echo" in (line.service, line.route)),
        key=lambda one: one.position,
    )
    assert got == [line.id for line in reversed(due)]
