"""Reservations screen: reserved nodes, time ranges, accounts and users, running jobs."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.content import Content

from wattline_protocol.lists.reservation_table import reservation_table
from wattline_protocol.text.visible import visible_line
from wattline_protocol.wire.client_messages import Answer, Request
from wattline_protocol.wire.reservations import ListReservations, Reservations, ReservationView
from wattline_tui.listing.rows import Rows
from wattline_tui.messages import OpenJob
from wattline_tui.render.reservation_text import reservation_text
from wattline_tui.screens.base import ListScreen, SubjectKind, TableScreen
from wattline_tui.widgets.facts import Facts
from wattline_tui.widgets.list_pane import ListPane
from wattline_tui.widgets.list_table import ListTable


class ReservationsScreen(TableScreen, ListScreen):
    """Opened from accounts."""

    CSS_PATH = "reservations.tcss"
    kind: ClassVar[SubjectKind] = "reservation"

    def __init__(self) -> None:
        rows = Rows(reservation_table, lambda one: one.name)
        title = "reservations, by start"
        super().__init__(ListPane(ListTable(rows, id="reservations"), title, id="pane"))
        self.reservations: tuple[ReservationView, ...] = ()

    @property
    def request(self) -> Request:
        """The whole list."""
        return ListReservations()

    def content(self) -> ComposeResult:
        """All of them above, the selected one below."""
        yield self.pane
        yield Facts(id="facts")

    @property
    def selected(self) -> ReservationView | None:
        """The one under the cursor."""
        one = self.pane.table.rows.row
        return one if isinstance(one, ReservationView) else None

    def show_answer(self, answer: Answer, now_unix_s: float) -> None:
        """Draw the reservations."""
        if not isinstance(answer, Reservations):
            return
        reservations = self.reservations = answer.reservations
        active = sum(one.state == "active" for one in reservations)
        self.pane.facts = f"{active} of {len(reservations)} active"
        if reservations:
            self.pane.facts += f" · {self.key_of('unreserve')}: cancel"
        self.pane.table.show(reservations, now_unix_s)
        self._draw_selected()

    def _draw_selected(self) -> None:
        one, facts = self.selected, self.query_one(Facts)
        facts.display = one is not None
        if one is not None:
            facts.border_title = Content(visible_line(one.name))
            facts.show(reservation_text(one))

    def on_list_table_changed(self) -> None:
        """The cursor has moved."""
        self._draw_selected()

    def on_list_table_opened(self, event: ListTable.Opened) -> None:
        """Open the first job of the reservation, or of those that still run there."""
        event.stop()
        one = self.selected
        jobs = () if one is None else one.jobs or one.others
        if jobs:
            self.post_message(OpenJob(jobs[0]))
        elif one is not None:
            self.notify(f"Nothing runs on the nodes of {one.name}.")
