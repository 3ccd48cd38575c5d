"""Nodes: all of them, with totals."""

from typing import ClassVar

from wattline_protocol.ids import NodeId
from wattline_protocol.lists.node_table import node_table
from wattline_protocol.views.site_views import NodeView
from wattline_tui.listing.names import natural
from wattline_tui.listing.rows import Rows
from wattline_tui.listing.totals import node_totals
from wattline_tui.messages import OpenNode
from wattline_tui.model import View
from wattline_tui.screens.base import SubjectKind, TableScreen
from wattline_tui.widgets.list_pane import ListPane
from wattline_tui.widgets.list_table import ListTable


def _place(node: NodeView) -> tuple[tuple[str | int, ...], ...]:
    return natural(node.rack), natural(node.id)


class NodesScreen(TableScreen):
    """Mode 2."""

    kind: ClassVar[SubjectKind] = "node"

    def __init__(self) -> None:
        rows = Rows(node_table, lambda node: node.id, _place)
        super().__init__(ListPane(ListTable(rows, id="nodes"), "nodes", id="pane"))

    def draw(self, view: View) -> None:
        """Draw the nodes of the snapshot."""
        if view.site is not None:
            self.show_rows(view.site.nodes, view, node_totals(view.site.nodes))

    def on_list_table_opened(self, event: ListTable.Opened) -> None:
        """Open the node."""
        event.stop()
        self.post_message(OpenNode(NodeId(event.key)))
