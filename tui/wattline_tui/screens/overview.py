"""Overview screen: budgets, racks, queue, events."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import DataTable

from wattline_protocol.ids import JobId, NodeId
from wattline_tui.actions import Place, bindings
from wattline_tui.messages import OpenJob, OpenNode, Redraw
from wattline_tui.model import View
from wattline_tui.screens.base import SiteScreen, Subject
from wattline_tui.widgets.domains import DomainBars
from wattline_tui.widgets.events import EventLines
from wattline_tui.widgets.jobs import JobTable
from wattline_tui.widgets.nodes import NodeTable


class OverviewScreen(SiteScreen):
    """Summary of the site; Enter opens the selected object."""

    CSS_PATH = "overview.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("site")]
    place: ClassVar[Place] = "site"

    def content(self) -> ComposeResult:
        """Budgets beside racks, the queue below, events at the bottom."""
        with Vertical(id="content"):
            with Horizontal(id="top"):
                yield DomainBars(id="domains")
                yield NodeTable(id="nodes")
            yield JobTable(id="jobs")
            yield EventLines(id="events")

    def on_mount(self) -> None:
        """Focus the queue: it is used most."""
        self.query_one(JobTable).focus()

    def draw(self, view: View) -> None:
        """Draw every panel."""
        if view.site is None:
            return
        self.query_one(DomainBars).show(view.site)
        self.query_one(NodeTable).show_site(view.site)
        self.query_one(JobTable).show_site(view.site)
        self.query_one(EventLines).show(view.site)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter or click on a row."""
        event.stop()
        key = str(event.row_key.value)
        if isinstance(event.data_table, NodeTable):
            self.post_message(OpenNode(NodeId(key)))
        else:
            self.post_message(OpenJob(JobId(int(key))))

    def action_open(self) -> None:
        """Open the selected object."""
        if isinstance(self.focused, NodeTable | JobTable):
            self.focused.action_select_cursor()

    def action_heat(self) -> None:
        """Switch between power and temperature in the heat map."""
        table = self.query_one(NodeTable)
        table.by_temperature = not table.by_temperature
        self.post_message(Redraw())

    def action_ended(self) -> None:
        """Show or hide ended jobs."""
        table = self.query_one(JobTable)
        table.with_ended = not table.with_ended
        self.post_message(Redraw())

    def subject(self) -> Subject | None:
        """The selected node or job of the table in focus."""
        table = self.focused
        if not isinstance(table, NodeTable | JobTable) or table.selected is None:
            return None
        return Subject("node" if isinstance(table, NodeTable) else "job", (table.selected,))
