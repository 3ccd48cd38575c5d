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
from wattline_protocol.views.request_logs import (
    MAX_ROWS,
    GatewayWithout,
    LogFilter,
    LoggedRequest,
    LogKind,
    LogPage,
)
from wattline_protocol.views.service_views import RouteView, ServiceView

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
    key: str | None,
    status: str | None,
    limit: int | None,
    as_json: bool,
) -> ServiceView | RouteView | Requests | Iterator[Any] | str:
    """One service with its workers, a route with its rules, requests, or lines with their bodies;
    or ends a route."""
    if what in (None, WORKERS, REMOVE):
        if since or key or status or limit is not None:
            text = f"--since, --key, --status and --limit belong to `service {name} {REQUESTS}`"
            raise ActFailed(text, exits.USAGE)
        return client.remove_route(name) if what == REMOVE else client.service_or_route(name)
    if what not in (REQUESTS, BODIES):
        text = f"{what!r}: expected {WORKERS}, {REQUESTS}, {BODIES} or {REMOVE}"
        raise ActFailed(text, exits.USAGE)
    if limit is not None and (limit < 1 or (what == REQUESTS and limit > MAX_ROWS)):
        raise ActFailed(f"--limit {limit}: 1 to {MAX_ROWS} are accepted", exits.USAGE)
    begin_unix_s = moment(since or SINCE, time.time() - client.clock_offset_s)
    kind = REQUESTS if what == REQUESTS else BODIES
    wanted = LogFilter(name, begin_unix_s, kind, key or "", (status or "").lower())
    if kind == BODIES:
        return _bodies(client, wanted, limit, as_json=as_json)
    pages = list(client.log_pages(wanted, limit or LIMIT))
    return Requests(
        [_request(row.line) for page in pages for row in page.rows],
        _missing(pages),
        pages[-1].reached is not None,
    )


def _bodies(
    client: Client, wanted: LogFilter, limit: int | None, *, as_json: bool
) -> Iterator[Any]:
    """Each line; those that are missing are named beside them."""
    pages: list[LogPage] = []
    for page in client.log_pages(wanted, limit):
        pages.append(msgspec.structs.replace(page, rows=()))
        for row in page.rows:
            yield msgspec.json.decode(row.line) if as_json else row.line + b"\n"
    for one in _missing(pages):
        put_error(f"gateway {one.gateway} {one.why}")


def _request(line: bytes) -> LoggedRequest:
    try:
        found = msgspec.json.decode(line, type=LoggedRequest)
        _ = found.position
    except (ValueError, OverflowError, RecursionError) as error:
        raise ActFailed(f"a gateway sent a line that is no request: {error}") from error
    return found


def _missing(pages: list[LogPage]) -> list[GatewayWithout]:
    """Each gateway once, that any page lacks."""
    return list({one.gateway: one for page in pages for one in page.missing}.values())
