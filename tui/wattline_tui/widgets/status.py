"""The status line: site, age of the data, alarms, and as whom the terminal acts."""

from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.text import Text
from textual.widget import Widget

from wattline_protocol.text.moments import local_time_of_day
from wattline_protocol.text.visible import visible_line
from wattline_protocol.text.wording import counted, many
from wattline_protocol.views.site_views import SiteView
from wattline_tui.model import View
from wattline_tui.units import duration, watts
from wattline_tui.widgets.keys import key_of

NAME_WIDTH = 20


class StatusLine(Widget):
    """Shows whether the data is stale, simulated or alarming."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "status--name",
        "status--stale",
        "status--alarm",
        "status--limit",
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
        """One line: what is on the right gives way last."""
        view, site = self._view, self._view.site
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(" wattline ", self._style("status--name"))
        if site is None:
            text.append(f" {view.trouble or 'connecting …'}", self._style("status--stale"))
            return text
        text.append(f" {_short(visible_line(site.site))} · {local_time_of_day(site.unix_s)} ")
        badges, me = self._badges(site), self._me()
        for fact in _facts(site):
            if text.cell_len + len(fact) + badges.cell_len + len(me) <= self.size.width:
                text.append(fact)
        text.append_text(badges)
        blanks = self.size.width - text.cell_len - len(me)
        return text.append(" " * blanks + me) if blanks >= 0 else text

    def _me(self) -> str:
        """`ada (operator) `; empty until the scheduler has said it."""
        who = self._view.me
        return f" {visible_line(who.user)} ({who.role}) " if who is not None else ""

    def _badges(self, site: SiteView) -> Text:
        """What must be seen also on a narrow terminal; the longest text is the last."""
        view, badges = self._view, Text()
        if site.simulated:
            badges.append(" SIMULATED ", self._style("status--simulated"))
        if (stale_s := view.stale_s(self._now_s)) is not None:
            badges.append(f" STALE {duration(stale_s)} ", self._style("status--stale"))
        if count := site.open_alarms:
            badge = f" {counted(count, 'ALARM', 'ALARMS')}: press {key_of(self.app, 'alarms')} "
            badges.append(badge, self._style("status--alarm"))
        if limited := _limited(site):
            badges.append(f" {limited} ", self._style("status--limit"))
        if view.trouble:
            badges.append(f" {view.trouble} ", self._style("status--stale"))
        return badges

    def _style(self, name: str) -> str:
        return str(self.get_component_rich_style(name, partial=True))


def _short(name: str) -> str:
    """A site with a long name hides nothing else."""
    return name if cell_len(name) <= NAME_WIDTH else set_cell_size(name, NAME_WIDTH - 1) + "…"


def _facts(site: SiteView) -> tuple[str, ...]:
    gpus = sum(node.gpu_count for node in site.nodes)
    return (
        f"· {many(len(site.nodes), 'node')} ",
        f"· {many(gpus, 'GPU')} ",
        f"· epoch {site.epoch} ",
    )


def _limited(site: SiteView) -> str:
    """The first lowered budget: `▼ site 16.5 kW`."""
    low = [domain for domain in site.domains if domain.budget_w < domain.full_budget_w]
    more = f" +{len(low) - 1}" if len(low) > 1 else ""
    return f"▼ {visible_line(low[0].id)} {watts(low[0].budget_w)}{more}" if low else ""
