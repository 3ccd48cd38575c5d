"""Power: budgets of domains and zones, all about the selected one, and limits, now and planned."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.content import Content

from wattline_protocol.lists.domain_table import domain_table
from wattline_protocol.lists.limit_table import limit_table
from wattline_protocol.text.visible import visible_line
from wattline_protocol.views.site_views import DomainView, LimitView
from wattline_tui.acts.on_budgets import event_of
from wattline_tui.listing.nodes import nodes_below
from wattline_tui.listing.places import Target
from wattline_tui.listing.rows import Rows
from wattline_tui.messages import GoTo
from wattline_tui.model import View
from wattline_tui.render.domain_text import domain_text
from wattline_tui.screens.base import Subject, SubjectKind, TableScreen
from wattline_tui.widgets.facts import Facts
from wattline_tui.widgets.list_pane import ListPane
from wattline_tui.widgets.list_table import ListTable


class PowerScreen(TableScreen):
    """Mode 6."""

    CSS_PATH = "power.tcss"
    kind: ClassVar[SubjectKind] = "domain"

    def __init__(self) -> None:
        rows = Rows(domain_table, lambda one: one.id)
        super().__init__(ListPane(ListTable(rows, id="domains"), "power and cooling", id="pane"))
        limits = Rows(limit_table, lambda one: f"{one.domain} {one.name}")
        title = "limits: sheds, schedules, grid events, controllers"
        self.limits = ListPane(ListTable(limits, id="limits"), title, id="limits-pane")
        self._now_unix_s = 0.0

    def content(self) -> ComposeResult:
        """Domains above, then the selected one, then limits."""
        yield self.pane
        yield Facts(id="facts")
        yield self.limits

    def draw(self, view: View) -> None:
        """Draw the domains of the snapshot, and their limits by start."""
        site = view.site
        if site is None:
            return
        self._now_unix_s = site.unix_s
        nodes, what_if = f"{self.key_of('open')}: its nodes", f"{self.key_of('whatif')}: what if"
        self.show_rows(site.domains, view, f"{nodes} · {what_if} it has fewer watts")
        limits = sorted(
            (limit for domain in site.domains for limit in domain.limits),
            key=lambda limit: limit.start_unix_s,
        )
        self.limits.facts = self._facts_of(limits)
        self.limits.table.show(limits, site.unix_s)
        self._draw_selected()

    def _facts_of(self, limits: Sequence[LimitView]) -> str:
        has_event = any(event_of(one) for one in limits)
        return f"{self.key_of('cancel-grid-event')}: cancel a grid event" if has_event else ""

    @property
    def selected(self) -> DomainView | None:
        """The domain under the cursor."""
        one = self.pane.table.rows.row
        return one if isinstance(one, DomainView) else None

    def _draw_selected(self) -> None:
        one, facts = self.selected, self.query_one(Facts)
        facts.display = one is not None
        if one is not None:
            facts.border_title = Content(visible_line(one.id))
            facts.show(domain_text(one, self._now_unix_s))

    def on_list_table_changed(self) -> None:
        """Another domain is selected."""
        self._draw_selected()

    def on_list_table_opened(self, event: ListTable.Opened) -> None:
        """The nodes whose watts count in a domain; of a limit, its domain in the list above."""
        event.stop()
        one = event.table.rows.row
        if isinstance(one, LimitView):
            self.go_to("domain", one.domain)
            self.pane.table.focus()
        else:
            self.post_message(GoTo(Target("where", nodes_below(event.key), "nodes", event.key)))

    def subject(self) -> Subject | None:
        """The chosen domains; of a limit, its grid event, and its domain."""
        if not self.limits.table.has_focus:
            return super().subject()
        one = self.limits.table.rows.row
        if not isinstance(one, LimitView):
            return None
        domain = Subject("domain", (one.domain,))
        event = event_of(one)
        return Subject("grid event", (event,), domain) if event else domain
