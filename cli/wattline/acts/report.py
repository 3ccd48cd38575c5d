"""Accounting."""

import time
from datetime import datetime

from wattline.client import Client
from wattline.failures import ActFailed
from wattline_protocol.text.moments import check_year
from wattline_protocol.text.quantities import parse_duration_s
from wattline_protocol.views.report_views import ReportView


def report(client: Client, *, since: str | None, until: str | None) -> ReportView:
    """Jobs and energy between two times."""
    now_unix_s = time.time()
    return client.report(
        since_unix_s=moment(since, now_unix_s) if since else 0.0,
        until_unix_s=moment(until, now_unix_s) if until else 0.0,
    )


def moment(text: str, now_unix_s: float) -> float:
    """Unix time of `24h` (ago) or of a date such as 2026-11-01 or 2026-11-01T08:00."""
    try:
        return max(0.0, now_unix_s - parse_duration_s(text))
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ActFailed(
            f"{text!r} is not a time; write a time ago (24h, 7d) or a date (2026-11-01, "
            "2026-11-01T08:00)",
            status=2,
        ) from None
    try:
        check_year(at)
    except ValueError as error:
        raise ActFailed(f"{text!r}: {error}", status=2) from error
    return at.timestamp()
