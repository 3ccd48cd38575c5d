"""Lines of the event log, and results of acts."""

from collections.abc import Sequence
from typing import get_args

from rich.text import Text

from wattline.lists.list_of import ListOf
from wattline.show import units
from wattline.show.styles import state
from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.table import Table
from wattline_protocol.views.site_views import EventLevel, EventView


def done(value: str | Sequence[str]) -> str:
    """One line an act."""
    return value if isinstance(value, str) else "\n".join(value)


def line(event: EventView) -> Text:
    """Number, time, level, kind, originator, text."""
    level = state(event.level) if event.level != "info" else Text("")
    level.pad_right(8 - len(level))
    return Text.assemble(
        (f"{event.seq:>6} ", "dim"),
        f"{units.clock(event.unix_s)} ",
        level,
        (f"{event.kind:<20} ", "bold"),
        f"{event.actor}: {event.text}",
    )


def table(_: float) -> Table[EventView]:
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


LIST = ListOf[Sequence[EventView], EventView](table, line=line)
