"""Power domains and cooling zones as two trees."""

import time
from collections.abc import Sequence
from typing import get_args

from rich.console import Group, RenderableType
from rich.text import Text

from wattline.lists.layout import listing
from wattline.lists.list_of import ListOf
from wattline.lists.request import ListOptions, understood
from wattline.show import units
from wattline.show.tables import Column as Cells
from wattline.show.tables import Listing
from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.domain_table import domain_table, tree
from wattline_protocol.lists.table import Table
from wattline_protocol.views.power_views import PowerOutlook
from wattline_protocol.views.site_views import DomainView, LimitSource, LimitStage, LimitView
from wattline_tui.limits import limit_times


def _below(_: Sequence[DomainView], rows: Sequence[DomainView]) -> list[RenderableType]:
    """The limits of these domains, now or later."""
    limits = [limit for _, domain in tree(rows) for limit in domain.limits]
    if not limits:
        return []
    return [Text(), listing(understood(LIMITS, ListOptions(), time.time()), limits)]


LIST = ListOf[Sequence[DomainView], DomainView](domain_table, below=_below)


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
