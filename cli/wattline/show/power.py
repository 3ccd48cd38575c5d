"""Power domains and cooling zones as two trees."""

import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from wattline.lists.layout import listing
from wattline.lists.list_of import ListOf
from wattline.lists.request import ListOptions, understood
from wattline.show.tables import Column as Cells
from wattline.show.tables import Listing
from wattline_protocol.lists.domain_table import domain_table, tree
from wattline_protocol.lists.limit_table import limit_table
from wattline_protocol.views.power_views import PowerOutlook
from wattline_protocol.views.site_views import DomainView, LimitView


def _below(_: Sequence[DomainView], rows: Sequence[DomainView]) -> list[RenderableType]:
    """The limits of these domains, now or later."""
    limits = [limit for _, domain in tree(rows) for limit in domain.limits]
    if not limits:
        return []
    return [Text(), listing(understood(LIMITS, ListOptions(), time.time()), limits)]


LIMITS = ListOf[Sequence[LimitView], LimitView](limit_table)
LIST = ListOf[Sequence[DomainView], DomainView](domain_table, below=_below)


def outlook(view: PowerOutlook) -> RenderableType:
    """What would happen with fewer watts: sentences, then the jobs concerned."""
    sentences = Text("\n".join(view.lines))
    return Group(sentences, Text(), _jobs(view)) if view.jobs else sentences


def _jobs(view: PowerOutlook) -> Listing:
    some = view.jobs
    return Listing(
        columns=(
            Cells("JOB", [f"{one.job}" for one in some], is_right=True),
            Cells("NAME", [one.name for one in some], weight=2),
            Cells("USER", [one.owner for one in some], weight=1),
            Cells("PRIORITY", [f"{one.priority}" for one in some], is_right=True, weight=3),
            Cells("GPUS", [f"{one.gpus}" for one in some], is_right=True),
            Cells("THEN", [one.effect for one in some]),
            Cells("OF ITS DEMAND", [f"{one.before:.0%} → {one.after:.0%}" for one in some]),
        ),
        empty="",
    )
