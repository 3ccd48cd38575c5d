"""Power and cooling: both trees, foldable."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from textual.binding import BindingType

from wattline_protocol.ids import DomainId
from wattline_protocol.views.history_views import MAX_SUBJECTS
from wattline_protocol.views.site_views import DomainView
from wattline_tui.actions import bindings
from wattline_tui.render.lines import Line
from wattline_tui.render.trees import (
    HEADING_LINES,
    Tree,
    TreeRow,
    tree_lines,
    tree_rows,
)
from wattline_tui.widgets.row_panel import RowPanel


class TreePanel(RowPanel):
    """Left closes a domain or goes to its parent, Right opens it."""

    HEADING_LINES: ClassVar[int] = HEADING_LINES
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("tree")]

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's own parameter name
        super().__init__(id=id)
        self._domains: Sequence[DomainView] = ()
        self._chosen: dict[DomainId, bool] = {}
        self._rows: list[TreeRow] = []
        self._sparks: Mapping[DomainId, Sequence[float]] = {}
        self._now_s = 0.0

    def show(
        self,
        domains: Sequence[DomainView],
        sparks: Mapping[DomainId, Sequence[float]],
        now_s: float,
    ) -> None:
        """Draw these domains."""
        self._domains, self._sparks, self._now_s = domains, sparks, now_s
        self._fold()

    def _fold(self) -> None:
        self._rows = tree_rows(self._domains, self._chosen, self.rows_in_view)
        self.show_keys([row.domain.id for row in self._rows])
        self.titled("power and cooling")

    def on_resize(self) -> None:
        """What is open without a choice of the user depends on the height."""
        super().on_resize()
        self._fold()

    def row_lines(self, width: int, height: int) -> Sequence[Line]:
        """The rows in view."""
        marked = self.marked
        tree = Tree(self._chosen, None if marked is None else DomainId(marked), self.first)
        return tree_lines(self._rows, tree, self._sparks, self._now_s, width, height)

    @property
    def domains_shown(self) -> list[DomainId]:
        """All, or those whose rows can be seen where a history cannot be asked for all at once."""
        if len(self._domains) <= MAX_SUBJECTS:
            return [domain.id for domain in self._domains]
        shown = self._rows[self.first : self.first + min(self.rows_in_view, MAX_SUBJECTS)]
        return [row.domain.id for row in shown]

    @property
    def row(self) -> TreeRow | None:
        """The one under the cursor."""
        return next((row for row in self._rows if row.domain.id == self.cursor), None)

    def action_close(self) -> None:
        """Close what is open, or go to the domain above."""
        row = self.row
        if row is None:
            return
        if row.is_open:
            self._chosen[row.domain.id] = False
            self._fold()
        elif row.domain.parent is not None:
            self.select(row.domain.parent)

    def action_expand(self) -> None:
        """Open what is closed, or go to the first domain below."""
        row = self.row
        if row is None or not row.has_children:
            return
        if row.is_open:
            self.action_move(1)
        else:
            self._chosen[row.domain.id] = True
            self._fold()
