"""The columns of events."""

from typing import get_args

from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.table import Table
from wattline_protocol.views.site_views import EventLevel, EventView


def event_table(_: float) -> Table[EventView]:
    """The columns of events."""
    own = Column[EventView]
    levels = kinds.choice(*get_args(EventLevel), is_ordered=True)
    return Table(
        (
            own("event", kinds.NUMBER, lambda one: one.seq, weight=3),
            own("time", kinds.TIME, lambda one: one.unix_s),
            own("level", levels, lambda one: one.level),
            own("kind", kinds.TEXT, lambda one: one.kind, weight=1),
            own("actor", kinds.TEXT, lambda one: one.actor, weight=2),
            own("job", kinds.NUMBER, lambda one: one.job, weight=4, is_usual=False),
            own("node", kinds.TEXT, lambda one: one.node or "", weight=4, is_usual=False),
            own("text", kinds.TEXT, lambda one: one.text, grows=True),
        ),
        empty="No events.",
    )
