"""`wattline service NAME requests` and `bodies`: pages of the client, arguments, and the table."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from rich.console import Console

from support.core.list_pages import page_of
from wattline.acts.serving.services import service
from wattline.client import Client
from wattline.client.errors import Unavailable
from wattline.client.request_logs import RequestLogs, Requests
from wattline.failures import ActFailed
from wattline.show.serving.requests import LIST
from wattline_protocol.views.request_logs import (
    GatewayWithout,
    LogFilter,
    LoggedRequest,
    LogPage,
    LogPosition,
    LogRow,
    ReadRequestLog,
)

AWAY = GatewayWithout("g2", "is not connected")


def row(ended_s: float, **more: Any) -> LogRow:
    line = {"time": "2026-11-28T10:00:00.000Z", "id": f"{ended_s:g}", "status": 200, **more}
    line.setdefault("latency_ms", 12.3456)
    return LogRow(LogPosition(ended_s, f"{ended_s:g}"), json.dumps(line).encode())


class Scheduler(RequestLogs):
    """Answers with pages, as the real one does."""

    clock_offset_s = 0.0

    def __init__(self, *pages: LogPage) -> None:
        self.pages, self.asked = list(pages), list[LogFilter]()

    def get(self, request: Any, kind: Any, *, timeout_s: float | None = None) -> Any:
        assert isinstance(request, ReadRequestLog)
        self.asked.append(request.filter)
        return self.pages.pop(0)


def run(scheduler: Scheduler, what: str, **options: Any) -> Any:
    given = {
        "since": None,
        "until": None,
        "key": None,
        "status": None,
        "limit": None,
        "as_json": False,
    }
    return service(cast("Client", scheduler), name="echo", what=what, **{**given, **options})


def test_pages_continue_where_the_last_one_ended_until_there_are_enough() -> None:
    reached = LogPosition(8.0, "8")
    first = LogPage((row(9.0), row(8.0)), reached, (AWAY,))
    scheduler = Scheduler(first, LogPage((row(7.0, status=504, key="shop"),), None, (AWAY,)))
    found = run(scheduler, "requests", limit=5, status="5XX", key="shop")
    assert [one.id for one in found.requests] == ["9", "8", "7"]
    assert (found.missing, found.is_cut) == ([AWAY], False)
    assert [(one.limit, one.before) for one in scheduler.asked] == [(5, None), (3, reached)]
    assert {(one.status, one.key, one.service) for one in scheduler.asked} == {
        ("5xx", "shop", "echo")
    }


def test_a_page_that_gets_no_further_is_an_error() -> None:
    stuck = LogPage((), LogPosition(8.0))
    with pytest.raises(Unavailable, match="too slow"):
        run(Scheduler(stuck, stuck), "requests")


def test_bodies_are_lines_as_they_are_and_gateways_that_lack_are_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = LogPage((row(9.0, request={"input": 1}),), LogPosition(9.0, "9"), (AWAY,))
    lines = run(Scheduler(first, LogPage((row(8.0),))), "bodies")
    assert isinstance(lines, Iterator)
    found = list(lines)
    assert [json.loads(line)["id"] for line in found] == ["9", "8"]
    assert all(line.endswith(b"}\n") for line in found)
    assert capsys.readouterr().err == "gateway g2 is not connected\n"
    (value,) = run(Scheduler(LogPage((row(9.0),))), "bodies", as_json=True)
    assert value["id"] == "9"


@pytest.mark.parametrize(
    ("what", "options", "problem"),
    [
        ("workers", {"since": "1h"}, "--since, --until, --key, --status and --limit belong to"),
        ("workers", {"until": "1h"}, "--since, --until, --key, --status and --limit belong to"),
        ("requests", {"until": "2h"}, "--until 2h must be later than --since, 1h ago by default"),
        ("requests", {"since": "1h", "until": "1h"}, "must be later than --since 1h"),
        ("reqests", {}, "'reqests': expected workers, requests"),
        ("requests", {"limit": 0}, "--limit 0: 1 to 1000 are accepted"),
        ("requests", {"limit": 1001}, "--limit 1001: 1 to 1000 are accepted"),
        ("bodies", {"limit": 0}, "--limit 0"),
        ("requests", {"since": "soon"}, "'soon' is not a time"),
    ],
)
def test_arguments_that_mean_nothing(what: str, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ActFailed, match=problem):
        run(Scheduler(), what, **options)


def test_until_is_a_position_that_the_first_page_begins_below() -> None:
    end_s = datetime(2026, 11, 28, 10, tzinfo=UTC).timestamp()
    scheduler = Scheduler(LogPage((row(end_s - 1),), LogPosition(end_s - 1, "x")))
    run(scheduler, "requests", since="2026-11-28T09:00Z", until="2026-11-28T10:00Z", limit=1)
    (asked,) = scheduler.asked
    assert (asked.since_unix_s, asked.before) == (end_s - 3600, LogPosition(end_s))


def test_lines_that_are_no_request_are_left_out_and_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    times = "now", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z"
    dated = [b'{"time":"%b","id":"1","status":1,"latency_ms":1}' % one.encode() for one in times]
    long = b'{"time":"2026-11-28T10:00:00Z","id":"%b","status":1,"latency_ms":1}' % (b"x" * 129)
    wrong = [LogRow(LogPosition(1.0), line) for line in (b"{", b"[]", b"\xff", long, *dated)]
    page = LogPage((row(9.0), *wrong, row(8.0)))
    found = run(Scheduler(page), "requests")
    assert [one.id for one in found.requests] == ["9", "8"]
    assert found.malformed == len(wrong)
    for as_json in (False, True):
        lines = [*run(Scheduler(page), "bodies", as_json=as_json)]
        assert len(lines) == 2
        assert capsys.readouterr().err == f"{len(wrong)} malformed lines of the logs left out\n"


def test_the_table_names_what_is_missing() -> None:
    lines = [
        LoggedRequest("2026-11-28T10:00:00.000Z", "ab1", 200, 12.3456, "echo", "shop", 7, 30),
        LoggedRequest("2026-11-28T09:59:59.000Z", "ab0", 401, 0.2),
    ]
    console = Console(width=120)
    with console.capture() as captured:
        console.print(page_of(LIST, Requests(lines, [AWAY], is_cut=True, malformed=1)))
    text = captured.get()
    first, second = (line.split() for line in text.splitlines()[1:3])
    assert first[2:] == ["200", "12.3", "ms", "shop", "7", "30", "ab1"]
    assert second[2:] == ["401", "0.2", "ms", "-", "-", "-", "ab0"]
    assert "gateway g2 is not connected" in text
    assert "1 malformed line of the logs left out" in text
    assert "there are older requests: --limit up to 1,000 shows more" in text
