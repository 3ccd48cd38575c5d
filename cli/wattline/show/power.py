"""Power domains and cooling zones as two trees."""

import time
from collections.abc import Iterator, Sequence
from typing import get_args

from rich.console import RenderableType
from rich.text import Text

from wattline.lists.layout import listing
from wattline.lists.list_of import ListOf
from wattline.lists.request import ListOptions, understood
from wattline.show import units
from wattline_protocol.ids import DomainId
from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.table import Table
from wattline_protocol.site.model import DomainKind
from wattline_protocol.views.site_views import DomainView, LimitSource, LimitStage, LimitView
from wattline_tui.limits import limit_times


def tree(domains: Sequence[DomainView]) -> Iterator[tuple[int, DomainView]]:
    """Depth and domain, each parent before its children, otherwise in the order given."""
    children: dict[DomainId | None, list[DomainView]] = {}
    for domain in domains:
        children.setdefault(domain.parent, []).append(domain)
    waiting = [(0, domain) for domain in reversed(children.get(None, []))]
    while waiting:
        depth, domain = waiting.pop()
        yield depth, domain
        waiting += [(depth + 1, child) for child in reversed(children.get(domain.id, []))]


def table(_: float) -> Table[DomainView]:
    """The columns of domains and zones."""
    own = Column[DomainView]
    return Table(
        (
            own("domain", kinds.TEXT, lambda one: one.id),
            own("kind", kinds.choice(*get_args(DomainKind)), lambda one: one.kind, weight=3),
            own("parent", kinds.TEXT, lambda one: one.parent or "", weight=4, is_usual=False),
            own("rating", kinds.POWER, lambda one: one.rating_w, weight=4, is_usual=False),
            own("budget", kinds.POWER, lambda one: one.budget_w),
            own("committed", kinds.POWER, lambda one: one.committed_w),
            own("reserved", kinds.POWER, lambda one: one.reserved_w, weight=2),
            own("measured", kinds.POWER, lambda one: one.measured_w),
            own("headroom", kinds.POWER, lambda one: one.headroom_w, weight=1, is_alarm=_is_short),
            own("note", kinds.TEXT, note, grows=True, is_alarm=_is_over),
        ),
        empty="The site file has no domains.",
        tree=tree,
    )


def _is_short(domain: DomainView) -> bool:
    return domain.headroom_w < 0


def _is_over(domain: DomainView) -> bool:
    return domain.over_since_unix_s is not None


def _below(_: Sequence[DomainView], rows: Sequence[DomainView]) -> list[RenderableType]:
    """The limits of these domains, now or later."""
    limits = [limit for _, domain in tree(rows) for limit in domain.limits]
    if not limits:
        return []
    return [Text(), listing(understood(LIMITS, ListOptions(), time.time()), limits)]


LIST = ListOf[Sequence[DomainView], DomainView](table, below=_below)


def limit_table(now_unix_s: float) -> Table[LimitView]:
    """The columns of limits."""
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
    return limit.requester or units.NOT_KNOWN


LIMITS = ListOf[Sequence[LimitView], LimitView](limit_table)


def note(domain: DomainView) -> str:
    """How long it is exceeded, and which limit sets its budget."""
    parts = []
    if domain.over_since_unix_s is not None:
        over = units.watts(-domain.headroom_w)
        parts.append(f"{over} over since {units.time_of_day(domain.over_since_unix_s)}")
    if domain.meter is not None and domain.meter.why:
        parts.append(f"its meter {domain.meter.why}")
    elif domain.meter is not None and domain.meter.unbooked_w > 0:
        parts.append(f"{units.watts(domain.meter.unbooked_w)} unbooked load")
    parts += [f"limited by {one.name}" for one in domain.limits if one.is_binding]
    return "; ".join(parts)
