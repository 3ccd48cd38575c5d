"""Power and cooling trees as bars: measured power, committed power, and the budget."""

from typing import ClassVar

from rich.text import Text
from textual.geometry import Size
from textual.widget import Widget

from wattline_protocol.views.site_views import SiteView
from wattline_tui.model import DomainRow, domain_rows
from wattline_tui.units import kilowatts

NAME_WIDTH_MAX = 14
FIGURE_WIDTH = 4
FIGURES_WIDTH = 2 + 3 * FIGURE_WIDTH + 2 + len(" OVER")
MIN_BAR = 6


class DomainBars(Widget):
    """One line a domain. `█` measured, `▒` committed beyond it, `│` the budget in force."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "bar--measured",
        "bar--committed",
        "bar--free",
        "bar--limit",
        "bar--over",
        "bar--title",
        "bar--limited",
    }

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's own parameter name
        super().__init__(id=id)
        self._rows: list[DomainRow] = []
        self.border_title = "power and cooling"
        self.border_subtitle = "kW measured / committed / budget"

    def show(self, site: SiteView) -> None:
        """Draw this snapshot."""
        rows = domain_rows(site)
        self.refresh(layout=_lines(rows) != _lines(self._rows))
        self._rows = rows

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """A line a domain, one per limit of it, and one per kind."""
        del container, viewport, width
        return _lines(self._rows) + len({row.kind for row in self._rows})

    def render(self) -> Text:
        """All rows; with a heading where the kind changes."""
        text = Text(no_wrap=True, overflow="ellipsis")
        kind = ""
        for row in self._rows:
            if row.kind != kind:
                kind = row.kind
                text.append(f"{kind}\n", self._style("bar--title"))
            text.append_text(self._line(row))
            text.append("\n")
            for limit in row.limits:
                text.append(f"{self._indent(row)}└ {limit}\n", self._style("bar--limited"))
        text.rstrip()
        return text

    def _line(self, row: DomainRow) -> Text:
        over = self._style("bar--over")
        name_width = self._name_width()
        line = Text()
        line.append(f"{row.name[:name_width]:<{name_width}} ", over if row.is_over else "")
        line.append_text(self._bar(row))
        figures = "/".join(
            f"{kilowatts(w):>{FIGURE_WIDTH}}"
            for w in (row.measured_w, row.committed_w, row.budget_w)
        )
        line.append(f" {figures}", over if row.is_over else "")
        if row.is_over:
            line.append(" OVER", over)
        elif row.is_low:
            line.append(" low", self._style("bar--limited"))
        return line

    def _indent(self, row: DomainRow) -> str:
        return " " * (len(row.name) - len(row.name.lstrip()) + 1)

    def _name_width(self) -> int:
        return min(NAME_WIDTH_MAX, max((len(row.name) for row in self._rows), default=0))

    def _bar(self, row: DomainRow) -> Text:
        width = max(MIN_BAR, self.content_size.width - self._name_width() - FIGURES_WIDTH)
        measured = min(width, round(row.measured_share * width))
        committed = min(width, max(measured, round(row.committed_share * width)))
        limit = min(width - 1, max(0, round(row.budget_share * width) - 1))
        bar = Text()
        bar.append("█" * measured, self._style("bar--over" if row.is_over else "bar--measured"))
        bar.append("▒" * (committed - measured), self._style("bar--committed"))
        bar.append("·" * (width - committed), self._style("bar--free"))
        mark = Text("│", self._style("bar--limit"))
        return Text.assemble(bar[:limit], mark, bar[limit + 1 :])

    def _style(self, name: str) -> str:
        return str(self.get_component_rich_style(name, partial=True))


def _lines(rows: list[DomainRow]) -> int:
    return sum(1 + len(row.limits) for row in rows)
