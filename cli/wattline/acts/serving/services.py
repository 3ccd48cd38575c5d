"""Queries about services, and their requests as gateways have logged them."""

import time
from collections.abc import Iterator
from typing import Any

import msgspec

from wattline import exits
from wattline.acts.report import moment
from wattline.client import Client
from wattline.client.request_logs import Requests
from wattline.failures import ActFailed
from wattline.show.screen import put_error
from wattline.show.serving.requests import left_out
from wattline_protocol.views.request_logs import (
    MAX_ROWS,
    GatewayWithout,
    LogFilter,
    LoggedRequest,
    LogKind,
    LogPage,
    LogPosition,
)
from wattline_protocol.views.service_views import RouteView, ServiceView, WorkerView

WORKERS = "workers"
REMOVE = "remove"
REQUESTS: LogKind = "requests"
BODIES: LogKind = "bodies"
SINCE = "1h"
LIMIT = 100


def services(client: Client) -> tuple[ServiceView | RouteView, ...]:
    """Open services, and routes."""
    return client.services_and_routes()


def service(
    client: Client,
    *,
    name: str,
    what: str | None,
    since: str | None,
    until: str | None,
    key: str | None,
    status: str | None,
    limit: int | None,
    as_json: bool,
) -> ServiceView | RouteView | tuple[WorkerView, ...] | Requests | Iterator[Any] | str:
    """One service, or its workers alone, a route with its rules, requests, or lines with their
    bodies; or ends a route."""
    if what in (None, WORKERS, REMOVE):
        if since or until or key or status or limit is not None:
            options = "--since, --until, --key, --status and --limit"
            raise ActFailed(f"{options} belong to `service {name} {REQUESTS}`", exits.USAGE)
        return _whole(client, name, what)
    if what not in (REQUESTS, BODIES):
        text = f"{what!r}: expected {WORKERS}, {REQUESTS}, {BODIES} or {REMOVE}"
        raise ActFailed(text, exits.USAGE)
    if limit is not None and (limit < 1 or (what == REQUESTS and limit > MAX_ROWS)):
        raise ActFailed(f"--limit {limit}: 1 to {MAX_ROWS} are accepted", exits.USAGE)
    kind = REQUESTS if what == REQUESTS else BODIES
    begin_unix_s, before = _span(client, since, until)
    wanted = LogFilter(name, begin_unix_s, kind, key or "", (status or "").lower(), before=before)
    if kind == BODIES:
        return _bodies(client, wanted, limit, as_json=as_json)
    pages = list(client.log_pages(wanted, limit or LIMIT))
    lines = [_request(row.line) for page in pages for row in page.rows]
    found = [one for one in lines if one is not None]
    is_cut = pages[-1].reached is not None
    return Requests(found, _missing(pages), is_cut, len(lines) - len(found))


def _whole(
    client: Client, name: str, what: str | None
) -> ServiceView | RouteView | tuple[WorkerView, ...] | str:
    """The service or route, its workers, or the receipt of its removal."""
    if what == REMOVE:
        return client.remove_route(name)
    found = client.service_or_route(name)
    if what is None:
        return found
    if isinstance(found, RouteView):
        raise ActFailed(f"{name} is a route: its services have workers, listed by `services`")
    return found.workers


def _span(client: Client, since: str | None, until: str | None) -> tuple[float, LogPosition | None]:
    """Begin of the time that is asked for, and the position after its last line."""
    now_unix_s = time.time() - client.clock_offset_s
    begin_unix_s = moment(since or SINCE, now_unix_s)
    if until is None:
        return begin_unix_s, None
    end_unix_s = moment(until, now_unix_s)
    if end_unix_s <= begin_unix_s:
        begin = f"--since {since}" if since else f"--since, {SINCE} ago by default"
        raise ActFailed(f"--until {until} must be later than {begin}", exits.USAGE)
    return begin_unix_s, LogPosition(end_unix_s)


def _bodies(
    client: Client, wanted: LogFilter, limit: int | None, *, as_json: bool
) -> Iterator[Any]:
    """Each line; what is missing is named on stderr."""
    pages: list[LogPage] = []
    malformed = 0
    for page in client.log_pages(wanted, limit):
        pages.append(msgspec.structs.replace(page, rows=()))
        for row in page.rows:
            if _request(row.line) is None:
                malformed += 1
            else:
                yield msgspec.json.decode(row.line) if as_json else row.line + b"\n"
    for one in _missing(pages):
        put_error(f"gateway {one.gateway} {one.why}")
    if malformed:
        put_error(left_out(malformed))


def _request(line: bytes) -> LoggedRequest | None:
    """None: it is no request."""
    try:
        found = msgspec.json.decode(line, type=LoggedRequest)
        _ = found.position
    except (ValueError, OverflowError, RecursionError):
        return None
    return found


def _missing(pages: list[LogPage]) -> list[GatewayWithout]:
    """Each gateway once, that any page lacks."""
    return list({one.gateway: one for page in pages for one in page.missing}.values())
