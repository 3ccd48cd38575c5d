"""Limits of a budget as text: one sentence for the terminal and the command line."""

from datetime import datetime

from wattline_protocol.views.site_views import DomainView, LimitView
from wattline_tui.units import watts

DAY_S = 86_400.0


def limit_line(limit: LimitView, now_s: float) -> str:
    """`shed to 16.5 kW until 18:00, by ops: grid event 4711`."""
    parts = [f"{limit.name} to {watts(limit.value_w)} {limit_times(limit, now_s)}"]
    if limit.requester and limit.source in ("operator", "event"):
        parts.append(f"by {limit.requester}")
    return ", ".join(parts) + (f": {limit.why}" if limit.why else "")


def limit_times(limit: LimitView, now_s: float) -> str:
    """`from Mon 16:00 until Mon 20:00`, `falling until 18:10, then until restored` …"""
    if limit.phase == "rising" and limit.end_unix_s is not None:
        return f"has ended, rising until {when(limit.end_unix_s + limit.release_s, now_s)}"
    if limit.phase == "cancelled":
        return "is cancelled"
    until = _until(limit, now_s)
    if limit.phase == "planned":
        return f"from {when(limit.start_unix_s, now_s)} {until}"
    if limit.phase == "falling":
        return f"falling until {when(limit.start_unix_s + limit.ramp_s, now_s)}, then {until}"
    return until


def _until(limit: LimitView, now_s: float) -> str:
    if limit.end_unix_s is not None:
        return f"until {when(limit.end_unix_s, now_s)}"
    return "until restored" if limit.source == "operator" else "until it recovers"


def when(unix_s: float, now_s: float) -> str:
    """Local time: `18:10:05` today, `Mon 16:00` within a week, the date beyond."""
    at = datetime.fromtimestamp(unix_s).astimezone()
    today = datetime.fromtimestamp(now_s).astimezone().date()
    if at.date() == today:
        return f"{at:%H:%M:%S}"
    is_near = abs(unix_s - now_s) < 6 * DAY_S
    return f"{at:%a %H:%M}" if is_near else f"{at:%Y-%m-%d %H:%M}"


def clock(unix_s: float, now_s: float) -> str:
    """The shortest form: `18:10` within a day, `Mon 16` within a week, `12-24` beyond."""
    at = datetime.fromtimestamp(unix_s).astimezone()
    if abs(unix_s - now_s) < DAY_S:
        return f"{at:%H:%M}"
    return f"{at:%a %H}" if abs(unix_s - now_s) < 6 * DAY_S else f"{at:%m-%d}"


def limits_of_interest(domain: DomainView, now_s: float, within_s: float) -> list[LimitView]:
    """Limits in force or moving, and those that begin within `within_s`."""
    return [
        limit
        for limit in domain.limits
        if limit.phase in ("falling", "in_force", "rising")
        or (limit.phase == "planned" and limit.start_unix_s - now_s < within_s)
    ]
