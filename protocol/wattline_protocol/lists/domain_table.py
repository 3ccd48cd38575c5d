"""The columns of power domains and cooling zones."""

from collections.abc import Iterator, Sequence
from typing import get_args

from wattline_protocol.ids import DomainId
from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.table import Table
from wattline_protocol.site.model import DomainKind
from wattline_protocol.text import wording
from wattline_protocol.text.moments import local_time_of_day
from wattline_protocol.views.site_views import DomainView


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


def domain_table(_: float) -> Table[DomainView]:
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


def note(domain: DomainView) -> str:
    """How long it is exceeded, and which limit sets its budget."""
    parts = []
    if domain.over_since_unix_s is not None:
        over = wording.watts(-domain.headroom_w)
        parts.append(f"{over} over since {local_time_of_day(domain.over_since_unix_s)}")
    if domain.meter is not None and domain.meter.why:
        parts.append(f"its meter {domain.meter.why}")
    elif domain.meter is not None and domain.meter.unbooked_w > 0:
        parts.append(f"{wording.watts(domain.meter.unbooked_w)} unbooked load")
    parts += [f"limited by {one.name}" for one in domain.limits if one.is_binding]
    return "; ".join(parts)
