"""Acts on grid events."""

import time

from wattline.acts.power import limits
from wattline.client import Client
from wattline.failures import ActFailed
from wattline.verbs.values import shed_amount
from wattline_protocol.text.moments import is_time_of_day, moment_unix_s
from wattline_protocol.views.site_views import LimitView


def add(
    client: Client,
    *,
    id: str,  # noqa: A002 - the parameter's name on the command line
    amount: str,
    domain: str | None,
    start: str | None,
    for_s: float | None,
    end: str | None,
    ramp_s: float | None,
    release_s: float | None,
    reason: str,
) -> str:
    """Announce a grid event."""
    try:
        fraction, by_mw = shed_amount(amount)
        start_unix_s, end_unix_s = _times(start, for_s, end)
    except ValueError as error:
        raise ActFailed(str(error), status=2) from error
    return client.grid_event(
        id,
        start_unix_s=start_unix_s,
        end_unix_s=end_unix_s,
        domain=domain,
        fraction=fraction,
        by_mw=by_mw,
        ramp_s=ramp_s or 0.0,
        release_s=release_s or 0.0,
        reason=reason,
    )


def _times(start: str | None, for_s: float | None, end: str | None) -> tuple[float, float]:
    """Start (0 = now) and end. Raises ValueError."""
    now_s = time.time()
    if (for_s is None) == (end is None):
        raise ValueError("specify the end: either --for 3h or --end 20:00")
    if start is not None and end is not None and is_time_of_day(start, end) and end <= start:
        raise ValueError(
            f"--end {end} is not after --start {start}; for the next day give a date and a time "
            f"as in 2026-12-01T{end}, or say how long it lasts with --for"
        )
    begins_s = now_s if start is None else moment_unix_s(start, now_s)
    ends_s = begins_s + (for_s or 0.0) if end is None else moment_unix_s(end, begins_s)
    return (0.0 if start is None else begins_s), ends_s


def events(client: Client) -> tuple[LimitView, ...]:
    """Grid events that are not over, by start."""
    return tuple(limit for limit in limits(client) if limit.source == "event")


def cancel(client: Client, *, id: str, reason: str) -> str:  # noqa: A002 - as above
    """Cancel a grid event."""
    return client.cancel_grid_event(id, reason)
