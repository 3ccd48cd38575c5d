"""Lines of the event log, and results of acts."""

from collections.abc import Sequence

from rich.text import Text

from wattline.lists.list_of import ListOf
from wattline.show import units
from wattline.show.styles import state
from wattline_protocol.lists.event_table import event_table
from wattline_protocol.views.site_views import EventView


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


LIST = ListOf[Sequence[EventView], EventView](event_table, line=line)
