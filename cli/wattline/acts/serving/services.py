"""Queries about services, and their requests as gateways have logged them."""

import time

import msgspec

from wattline import exits
from wattline.acts.report import moment
from wattline.client import Client
from wattline.client.request_logs import Requests
from wattline.failures import ActFailed
from wattline_protocol.views.request_logs import (
    MAX_ROWS,
    GatewayWithout,
    LogFilter,
    LoggedRequest,
    LogKind,
    LogPage,
)
from wattline_protocol.views.service_views import ServiceView

WORKERS = "workers"
REQUESTS: LogKind = "requests"
SINCE = "1h"
LIMIT = 100


def services(client: Client) -> tuple[ServiceView, ...]:
    """Open services."""
    return client.services()


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
) -> ServiceView | Requests:
    """One service with its workers, or its requests."""
    del as_json
    if what in (None, WORKERS):
        if since or key or status or limit is not None:
            text = f"--since, --key, --status and --limit belong to `service {name} {REQUESTS}`"
            raise ActFailed(text, exits.USAGE)
        return client.service(name)
    if what != REQUESTS:
        raise ActFailed(f"{what!r}: expected {WORKERS} or {REQUESTS}", exits.USAGE)
    if limit is not None and not 1 <= limit <= MAX_ROWS:
        raise ActFailed(f"--limit {limit}: 1 to {MAX_ROWS} are accepted", exits.USAGE)
    begin_unix_s = moment(since or SINCE, time.time() - client.clock_offset_s)
    wanted = LogFilter(name, begin_unix_s, REQUESTS, key or "", (status or "").lower())
    pages = list(client.log_pages(wanted, limit or LIMIT))
    return Requests(
        [_request(row.line) for page in pages for row in page.rows],
        _missing(pages),
        pages[-1].reached is not None,
    )


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
