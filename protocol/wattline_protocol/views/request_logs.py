"""Reads of gateways' logs of requests: a user asks the scheduler, which asks all gateways.

A gateway watches for queries (`WatchLogQueries`) and answers each with `ReportLogPage`. Lines are
passed on as the gateway wrote them. A page has the newest lines; the next one continues where it
ended (`before`).
"""

import re
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from wattline_protocol.wire.bounds import MAX_UNIX_S, Few, Line, Name, Serial, Time

MAX_ROWS = 1_000
"""Lines of one page."""

MAX_PAGE_BYTES = 1024 * 1024
"""The same in bytes; a page has at least one line."""

MAX_LINE_BYTES = 512 * 1024

_STATUS = re.compile("[1-5](xx|[0-9]{2})")

LogKind = Literal["requests", "bodies"]

RowLimit = Annotated[int, msgspec.Meta(ge=1, le=MAX_ROWS)]


class LogPosition(msgspec.Struct, frozen=True, order=True):
    """A place in the logs of all gateways: lines are ordered by the end of their request."""

    ended_unix_s: Time[float]
    id: Name[str] = ""
    """Of the request; orders those that ended at the same time."""


def status_class(text: str) -> range:
    """The statuses that a filter names. Raises ValueError."""
    if not text:
        return range(1000)
    if _STATUS.fullmatch(text) is None:
        raise ValueError(f"{text!r} is neither a status, as in 504, nor a class, as in 4xx or 5xx")
    first = int(text[0]) * 100
    return range(first, first + 100) if text.endswith("xx") else range(int(text), int(text) + 1)


class LoggedRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of an access log: one request."""

    time: str
    """When it began."""
    id: Name[str]
    """As in the header wattline-request-id of its answer."""
    status: int
    latency_ms: float
    service: str | None = None
    """None: unknown."""
    key: str | None = None
    """Name of its API key."""
    revision: int | None = None
    """Where the service has one."""
    tokens: int = 0
    """Of its output, where the model reports them."""
    owner: str | None = None
    """User of the service."""
    trace_id: str = ""
    """Of its header traceparent."""
    route: str | None = None
    """What the client asked for, where it is a route: then `service` is what that chose."""
    rule: int | None = None
    """Of the route, from 1; 0: its default."""
    joules: float | None = None
    """As in the header wattline-joules of its answer; None: not measured."""

    @property
    def began_unix_s(self) -> float:
        """Raises ValueError for a time that is none."""
        found = datetime.fromisoformat(self.time).timestamp()
        if not 0 <= found <= MAX_UNIX_S:
            raise ValueError(f"{self.time} is no time of a request")
        return found

    @property
    def position(self) -> LogPosition:
        """By the end of the request. Raises ValueError for a time that is none."""
        ended_unix_s = self.began_unix_s + self.latency_ms / 1000
        return LogPosition(min(max(0.0, ended_unix_s), MAX_UNIX_S), self.id)


class LogRow(msgspec.Struct, frozen=True):
    """A line of a log."""

    position: LogPosition
    line: Annotated[bytes, msgspec.Meta(max_length=MAX_LINE_BYTES)]
    """JSON, without its end of line."""


class LogFilter(msgspec.Struct, frozen=True):
    """Which lines are wanted."""

    service: Name[str]
    since_unix_s: Time[float]
    kind: LogKind = "requests"
    key: Name[str] = ""
    """Name of an API key; empty = any."""
    status: Name[str] = ""
    """A status, as in 504, or a class of them, as in 5xx; empty = any. See `status_class`."""
    limit: RowLimit = 100
    before: LogPosition | None = None
    """Only older lines; None = from the newest."""


class ReadRequestLog(msgspec.Struct, frozen=True, tag_field="t", tag="read_request_log"):
    """Lines of the gateways' logs, newest first. For the service's owner, and operators."""

    filter: LogFilter


class WatchLogQueries(msgspec.Struct, frozen=True, tag_field="t", tag="watch_log_queries"):
    """Gateway only: each query for its logs. The first answer comes at once and is none."""


class LogQuery(msgspec.Struct, frozen=True, tag_field="t", tag="log_query"):
    """Read a log and report the page."""

    number: Serial[int]
    """To be returned with it; 0: no query, the watch has begun."""
    filter: LogFilter | None = None
    owners: Few[Name[str]] = ()
    """Only lines of revisions of these users; empty = of all."""


Rows = Annotated[tuple[LogRow, ...], msgspec.Meta(max_length=MAX_ROWS)]


class ReportLogPage(msgspec.Struct, frozen=True, tag_field="t", tag="report_log_page"):
    """A gateway's answer to a query."""

    number: Serial[int]
    rows: Rows = ()
    """Newest first."""
    reached: LogPosition | None = None
    """There may be older lines, before this one; None = there are none."""
    error: Line = ""
    """Why there are none: it keeps no such log, or cannot read it."""


class GatewayWithout(msgspec.Struct, frozen=True):
    """A gateway whose lines are missing."""

    gateway: str
    why: str


class LogPage(msgspec.Struct, frozen=True, tag_field="t", tag="log_page"):
    """Lines of all gateways that answered."""

    rows: Rows
    """Newest first."""
    reached: LogPosition | None = None
    """There may be older lines, before this one; None = there are none."""
    missing: tuple[GatewayWithout, ...] = ()


LogRequest = ReadRequestLog | WatchLogQueries | ReportLogPage
LogAnswer = LogPage | LogQuery
