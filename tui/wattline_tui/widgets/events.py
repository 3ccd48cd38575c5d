"""The newest events, one line each."""

import datetime
from typing import ClassVar

from rich.text import Text
from textual.widget import Widget

from wattline_protocol.text.visible import visible_line
from wattline_protocol.views.site_views import EventView, SiteView
from wattline_tui.model import newest_events

MARKS = {"info": " ", "warning": "!", "alarm": "‼"}


class EventLines(Widget):
    """As many events as fit, newest first; the mark shows the level without colour."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "event--info",
        "event--warning",
        "event--alarm",
        "event--time",
    }

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's own parameter name
        super().__init__(id=id)
        self._events: tuple[EventView, ...] = ()
        self.border_title = "events"

    def show(self, site: SiteView) -> None:
        """Draw this snapshot."""
        self._events = newest_events(site, 50)
        self.refresh()

    def render(self) -> Text:
        """One line an event."""
        lines = [self._line(event) for event in self._events[: max(1, self.size.height)]]
        return Text("\n").join(lines) if lines else Text("No events.")

    def _line(self, event: EventView) -> Text:
        at = datetime.datetime.fromtimestamp(event.unix_s).astimezone()
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(f"{at:%H:%M:%S} ", self._style("event--time"))
        text = f"{MARKS[event.level]} {visible_line(event.text)}"
        line.append(text, self._style(f"event--{event.level}"))
        return line

    def _style(self, name: str) -> str:
        return str(self.get_component_rich_style(name, partial=True))
