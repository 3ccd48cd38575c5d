"""Nodes: all of them, with totals."""

from typing import ClassVar

from wattline_protocol.ids import NodeId
from wattline_protocol.lists.table import Table
from wattline_protocol.views.site_views import NodeView
from wattline_tui.listing.names import natural
from wattline_tui.listing.nodes import Parents, nodes_of_terminal, parents_of
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
        self._parents: Parents = {}
        rows = Rows(self._table, lambda node: node.id, _place)
        table = ListTable(rows, id="nodes")
        super().__init__(ListPane(table, "nodes", id="pane", totals=node_totals))

    def _table(self, now_unix_s: float) -> Table[NodeView]:
        return nodes_of_terminal(now_unix_s, self._parents)

    def draw(self, view: View) -> None:
        """Draw the nodes of the snapshot."""
        if view.site is not None:
            self._parents = parents_of(view.site.domains)
            self.show_rows(view.site.nodes, view)

    def on_list_table_opened(self, event: ListTable.Opened) -> None:
        """Open the node."""
        event.stop()
        self.post_message(OpenNode(NodeId(event.key)))
