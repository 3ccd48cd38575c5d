"""The columns of limits of budgets, and a limit as one line."""

from typing import get_args

from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.table import Table
from wattline_protocol.text.moments import when
from wattline_protocol.text.wording import watts
from wattline_protocol.views.site_views import LimitSource, LimitStage, LimitView


def limit_table(now_unix_s: float) -> Table[LimitView]:
    """As of that time."""
    own = Column[LimitView]
    sources, phases = kinds.choice(*get_args(LimitSource)), kinds.choice(*get_args(LimitStage))
    return Table(
        (
            own("limit", kinds.TEXT, lambda one: one.name),
            own("domain", kinds.TEXT, lambda one: one.domain),
            own("source", sources, lambda one: one.source, weight=3, is_usual=False),
            own("phase", phases, lambda one: one.phase, weight=3, is_usual=False),
            own("to", kinds.POWER, lambda one: one.value_w),
            own("now", kinds.POWER, lambda one: one.now_w, weight=2),
            own("start", kinds.TIME, lambda one: one.start_unix_s, weight=3, is_usual=False),
            own("end", kinds.TIME, lambda one: one.end_unix_s, weight=3, is_usual=False),
            own("when", kinds.TEXT, lambda one: limit_times(one, now_unix_s)),
            own("by", kinds.TEXT, lambda one: one.requester, text=_requester, weight=1),
            own("why", kinds.TEXT, lambda one: one.why, grows=True),
        ),
        empty="No current or future limits.",
    )


def _requester(limit: LimitView) -> str:
    return limit.requester or kinds.NOT_KNOWN


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
