"""Power domains and cooling zones as two trees."""

import time
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from wattline.acts.power import PowerNow
from wattline.show import units
from wattline.show.styles import alarm
from wattline.show.tables import Column, Listing
from wattline_protocol.ids import DomainId
from wattline_protocol.views.site_views import DomainView, LimitView
from wattline_tui.limits import limit_times


def page(shown: Sequence[DomainView] | PowerNow) -> RenderableType:
    """The domains and their limits, now or later; of a watch in a pipe, a line a domain."""
    return watch_lines(shown) if isinstance(shown, PowerNow) else _tables(shown)


def live_page(shown: PowerNow) -> Group:
    """A watch that is redrawn in place."""
    head = Text(units.clock(shown.unix_s), style="bold")
    if shown.trouble:
        head.append_text(alarm(f"  not fresh: {shown.trouble}"))
    return Group(head, Text(), _tables(shown.domains))


def watch_lines(shown: PowerNow) -> Text:
    """One line a domain for programs, split at spaces: time, name, then name=watts."""
    at = units.clock(shown.unix_s)
    if shown.trouble:
        return Text(f"{at} not fresh: {shown.trouble}")
    return Text("\n".join(f"{at} {_figures(domain)}" for _, domain in tree(shown.domains)))


def _figures(domain: DomainView) -> str:
    figures = {
        "budget_w": domain.budget_w,
        "committed_w": domain.committed_w,
        "measured_w": domain.measured_w,
        "headroom_w": domain.headroom_w,
    }
    text = " ".join(f"{name}={value:.0f}" for name, value in figures.items())
    return " ".join(filter(None, (domain.id, text, note(domain).plain)))


def _tables(domains: Sequence[DomainView]) -> RenderableType:
    limits = [limit for _, domain in tree(domains) for limit in domain.limits]
    if not limits:
        return listing(domains)
    return Group(listing(domains), Text(), limit_listing(limits))


def limit_listing(limits: Sequence[LimitView]) -> Listing:
    """One line a limit: name, domain, value, end, originator and reason."""
    now_s = time.time()
    return Listing(
        columns=(
            Column("LIMIT", [limit.name for limit in limits]),
            Column("DOMAIN", [limit.domain for limit in limits]),
            Column("TO", [units.watts(limit.value_w) for limit in limits], is_right=True),
            Column("NOW", [units.watts(limit.now_w) for limit in limits], is_right=True, weight=2),
            Column("WHEN", [limit_times(limit, now_s) for limit in limits]),
            Column("BY", [limit.requester or units.NOT_KNOWN for limit in limits], weight=1),
            Column("WHY", [limit.why for limit in limits], grows=True),
        ),
        empty="No current or future limits.",
    )


def listing(domains: Sequence[DomainView]) -> Listing:
    """One line a domain, children indented below their parent."""
    rows = list(tree(domains))
    shown = [domain for _, domain in rows]
    return Listing(
        columns=(
            Column("DOMAIN", [f"{'  ' * depth}{domain.id}" for depth, domain in rows]),
            Column("KIND", [d.kind for d in shown], weight=3),
            Column("BUDGET", [units.watts(d.budget_w) for d in shown], is_right=True),
            Column("COMMITTED", [units.watts(d.committed_w) for d in shown], is_right=True),
            Column("RESERVED", [units.watts(d.reserved_w) for d in shown], True, weight=2),
            Column("MEASURED", [units.watts(d.measured_w) for d in shown], is_right=True),
            Column("HEADROOM", [headroom(d) for d in shown], is_right=True, weight=1),
            Column("NOTE", [note(d) for d in shown], grows=True),
        ),
        empty="The site file has no domains.",
    )


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


def headroom(domain: DomainView) -> Text:
    """Remaining watts; a negative value is an alarm."""
    text = units.watts(domain.headroom_w)
    return alarm(text) if domain.headroom_w < 0 else Text(text)


def note(domain: DomainView) -> Text:
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
    return alarm("; ".join(parts)) if domain.over_since_unix_s else Text("; ".join(parts))
