"""Power domains and cooling zones as two trees."""

from collections.abc import Iterator, Sequence

from rich.text import Text

from wattline.show import units
from wattline.show.styles import alarm
from wattline.show.tables import Column, Listing
from wattline_protocol.ids import DomainId
from wattline_protocol.views import DomainView


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
        empty="The site file names no domains.",
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
    """What is left; a minus is an alarm."""
    text = units.watts(domain.headroom_w)
    return alarm(text) if domain.headroom_w < 0 else Text(text)


def note(domain: DomainView) -> Text:
    """How long it is over, and the shed in force."""
    parts = []
    if domain.over_since_unix_s is not None:
        over = units.watts(-domain.headroom_w)
        parts.append(f"{over} over since {units.time_of_day(domain.over_since_unix_s)}")
    if domain.shed:
        parts.append(f"shed {domain.shed}")
    return alarm("; ".join(parts)) if domain.over_since_unix_s else Text("; ".join(parts))
