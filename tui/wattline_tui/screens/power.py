"""Power: budgets of domains and zones."""

from typing import ClassVar

from wattline_protocol.lists.domain_table import domain_table
from wattline_tui.listing.rows import Rows
from wattline_tui.model import View
from wattline_tui.screens.base import SubjectKind, TableScreen
from wattline_tui.widgets.list_pane import ListPane
from wattline_tui.widgets.list_table import ListTable


class PowerScreen(TableScreen):
    """Mode 6."""

    kind: ClassVar[SubjectKind] = "domain"

    def __init__(self) -> None:
        rows = Rows(domain_table, lambda one: one.id)
        super().__init__(ListPane(ListTable(rows, id="domains"), "power and cooling", id="pane"))

    def draw(self, view: View) -> None:
        """Draw the domains of the snapshot."""
        if view.site is not None:
            self.show_rows(view.site.domains, view, "")
