"""Reservations screen: reserved nodes, time ranges, accounts and users, running jobs."""

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.markup import escape
from textual.widgets import DataTable

from wattline_protocol.text.visible import visible_line
from wattline_protocol.wire.client_messages import Answer, Request
from wattline_protocol.wire.reservations import ListReservations, Reservations, ReservationView
from wattline_tui.messages import OpenJob
from wattline_tui.reservations import COLUMNS, details_of, reservation_rows
from wattline_tui.screens.base import ListScreen
from wattline_tui.widgets.facts import Facts
from wattline_tui.widgets.tables import SteadyTable


class ReservationsScreen(ListScreen):
    """Opened from the overview."""

    CSS_PATH = "reservations.tcss"

    def __init__(self) -> None:
        super().__init__()
        self.reservations: tuple[ReservationView, ...] = ()

    @property
    def request(self) -> Request:
        """The whole list."""
        return ListReservations()

    def content(self) -> ComposeResult:
        """All of them above, the selected one below."""
        with Vertical(id="content"):
            yield SteadyTable(COLUMNS, id="reservations")
            yield Facts(id="facts")

    def on_mount(self) -> None:
        """The rows come with the first answer."""
        self._table.border_title = "reservations, by begin"
        self._table.focus()

    @property
    def _table(self) -> SteadyTable:
        return self.query_one(SteadyTable)

    @property
    def selected(self) -> ReservationView | None:
        """The selected reservation."""
        name = self._table.selected
        return next((one for one in self.reservations if one.name == name), None)

    def show_answer(self, answer: Answer, now_unix_s: float) -> None:
        """Draw the reservations."""
        if not isinstance(answer, Reservations):
            return
        reservations = self.reservations = answer.reservations
        self._table.show(reservation_rows(reservations, now_unix_s))
        active = sum(one.state == "active" for one in reservations)
        self._table.border_subtitle = f"{active} of {len(reservations)} active"
        self._draw_selected()

    def _draw_selected(self) -> None:
        one, facts = self.selected, self.query_one(Facts)
        facts.border_title = "" if one is None else escape(visible_line(one.name))
        nothing = "No reservations." if not self.reservations else ""
        facts.show(nothing if one is None else details_of(one))

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """The cursor has moved."""
        event.stop()
        self._draw_selected()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter or click on a row."""
        event.stop()
        self.open_inside()

    def open_inside(self) -> None:
        """Open the first job of the selected reservation, or of those that still run there."""
        one = self.selected
        if one is None:
            return
        jobs = one.jobs or one.others
        if jobs:
            self.post_message(OpenJob(jobs[0]))
        else:
            self.notify(f"Nothing runs on the nodes of {one.name}.")
