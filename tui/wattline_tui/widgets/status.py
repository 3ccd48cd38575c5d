"""The status line: site, age of the data, alarms."""

import datetime
from typing import ClassVar

from rich.text import Text
from textual.widget import Widget

from wattline_protocol.text.visible import visible_line
from wattline_protocol.text.wording import counted
from wattline_protocol.views.site_views import SiteView
from wattline_tui.model import View
from wattline_tui.units import duration


class StatusLine(Widget):
    """Shows whether the data is stale, simulated or alarming."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "status--name",
        "status--stale",
        "status--alarm",
        "status--simulated",
    }

    def __init__(self) -> None:
        super().__init__()
        self._view = View()
        self._now_s = 0.0

    def show(self, view: View, now_s: float) -> None:
        """Draw the state of the connection and of the site."""
        self._view, self._now_s = view, now_s
        self.refresh()

    def render(self) -> Text:
        """One line."""
        view, site = self._view, self._view.site
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(" wattline ", self._style("status--name"))
        if site is None:
            text.append(f" {view.trouble or 'connecting …'}", self._style("status--stale"))
            return text
        at = datetime.datetime.fromtimestamp(site.unix_s).astimezone()
        text.append(f" {visible_line(site.site)} · {at:%H:%M:%S} ")
        badges = self._badges(site)
        for fact in (f"· epoch {site.epoch} ", f"· {counted(len(site.nodes), 'node')} "):
            if text.cell_len + len(fact) + badges.cell_len <= self.size.width:
                text.append(fact)
        return text.append_text(badges)

    def _badges(self, site: SiteView) -> Text:
        """What must be seen also on a narrow terminal; the longest text is the last."""
        view, badges = self._view, Text()
        if site.simulated:
            badges.append(" SIMULATED HARDWARE ", self._style("status--simulated"))
        if (stale_s := view.stale_s(self._now_s)) is not None:
            badges.append(f" STALE {duration(stale_s)} ", self._style("status--stale"))
        if count := site.open_alarms:
            badge = f" {counted(count, 'ALARM', 'ALARMS')}: press ! "
            badges.append(badge, self._style("status--alarm"))
        if view.trouble:
            badges.append(f" {view.trouble} ", self._style("status--stale"))
        return badges

    def _style(self, name: str) -> str:
        return str(self.get_component_rich_style(name, partial=True))
