"""Gateways' logs of requests."""

from collections.abc import Iterator

import msgspec

from wattline.client.asking import RequestClient
from wattline.client.errors import Unavailable
from wattline_protocol.views.request_logs import (
    MAX_ROWS,
    GatewayWithout,
    LogFilter,
    LoggedRequest,
    LogPage,
    ReadRequestLog,
)


class Requests(msgspec.Struct, frozen=True):
    """Requests of a service, newest first."""

    requests: list[LoggedRequest]
    missing: list[GatewayWithout]
    """Gateways that did not answer."""
    is_cut: bool
    """There are older ones since then."""
    malformed: int = 0
    """Lines that are no request, left out."""


READ_TIMEOUT_S = 30.0
"""The scheduler waits for gateways for a part of that."""


class RequestLogs(RequestClient):
    """Reads of them."""

    def log_pages(self, wanted: LogFilter, limit: int | None = None) -> Iterator[LogPage]:
        """Pages of a log from all gateways, newest line first; at most `limit` lines in all.

        The scheduler records each page of bodies with its reader.
        """
        left, before = limit, wanted.before
        while left is None or left > 0:
            rows = MAX_ROWS if left is None else min(left, MAX_ROWS)
            part = msgspec.structs.replace(wanted, limit=rows, before=before)
            page = self.get(ReadRequestLog(part), LogPage, timeout_s=READ_TIMEOUT_S)
            yield page
            if page.reached is None:
                return
            if before is not None and page.reached >= before:
                raise Unavailable("the gateways' disks are too slow to read their logs")
            before = page.reached
            left = None if left is None else left - len(page.rows)
