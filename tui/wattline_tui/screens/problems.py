"""Problems: the open ones with evidence; events below."""

from typing import ClassVar

from textual.app import ComposeResult

from wattline_protocol.lists.problem_table import problem_table
from wattline_protocol.text.wording import counted
from wattline_tui.listing.rows import Rows
from wattline_tui.messages import OpenJob, OpenNode
from wattline_tui.model import View
from wattline_tui.screens.base import SubjectKind, TableScreen
from wattline_tui.widgets.events import EventLines
from wattline_tui.widgets.list_pane import ListPane
from wattline_tui.widgets.list_table import ListTable


class ProblemsScreen(TableScreen):
    """Mode 5."""

    kind: ClassVar[SubjectKind] = "problem"

    def __init__(self) -> None:
        rows = Rows(problem_table, lambda one: str(one.number))
        super().__init__(ListPane(ListTable(rows, id="problems"), "problems", id="pane"))

    def content(self) -> ComposeResult:
        """Problems above, events below."""
        yield self.pane
        yield EventLines(id="events")

    def draw(self, view: View) -> None:
        """Draw the open problems and the newest events."""
        site = view.site
        if site is None:
            return
        alarms = counted(site.open_alarms, "alarm")
        facts = f"{alarms}, {counted(site.open_warnings, 'warning')} open"
        self.show_rows(site.problems, view, facts)
        self.query_one(EventLines).show(site)

    def on_list_table_opened(self, event: ListTable.Opened) -> None:
        """Open its node or job."""
        event.stop()
        one = self.pane.table.rows.row
        if one is not None and one.node is not None:
            self.post_message(OpenNode(one.node))
        elif one is not None and one.job is not None:
            self.post_message(OpenJob(one.job))
