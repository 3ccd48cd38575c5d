"""Services screen: replicas, load, SLO, watts and joules of each; all about the selected one."""

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.markup import escape
from textual.widgets import DataTable

from wattline_protocol.text.visible import visible_line
from wattline_protocol.text.wording import counted
from wattline_protocol.views.service_views import ListServices, Services, ServiceView
from wattline_protocol.wire.client_messages import Answer, Request
from wattline_protocol.wire.problems import ProblemView
from wattline_tui.messages import OpenJob
from wattline_tui.model import View
from wattline_tui.screens.base import ListScreen
from wattline_tui.services import (
    COLUMNS,
    WORKER_COLUMNS,
    details_of,
    service_rows,
    worker_rows,
)
from wattline_tui.widgets.facts import Facts
from wattline_tui.widgets.tables import SteadyTable


class ServicesScreen(ListScreen):
    """Opened from the overview."""

    CSS_PATH = "services.tcss"

    def __init__(self) -> None:
        super().__init__()
        self.services: tuple[ServiceView, ...] = ()
        self._problems: tuple[ProblemView, ...] = ()

    @property
    def request(self) -> Request:
        """The whole list."""
        return ListServices()

    def content(self) -> ComposeResult:
        """All of them above, the selected one below, then its workers."""
        with Vertical(id="content"):
            yield SteadyTable(COLUMNS, id="services")
            yield Facts(id="facts")
            yield SteadyTable(WORKER_COLUMNS, id="workers")

    def on_mount(self) -> None:
        """The rows come with the first answer."""
        self._table.border_title = "services"
        self.query_one("#workers", SteadyTable).border_title = "workers"
        self._table.focus()

    @property
    def _table(self) -> SteadyTable:
        return self.query_one("#services", SteadyTable)

    @property
    def selected(self) -> ServiceView | None:
        """The selected service."""
        name = self._table.selected
        return next((one for one in self.services if one.name == name), None)

    def draw(self, view: View) -> None:
        """Problems come with each snapshot."""
        if view.site is not None:
            self._problems = view.site.problems

    def show_answer(self, answer: Answer, now_unix_s: float) -> None:
        """Draw the services."""
        del now_unix_s
        if not isinstance(answer, Services):
            return
        self.services = answer.services
        self._table.show(service_rows(self.services, self._problems))
        whole = sum(one.replicas.ready >= one.replicas.want for one in self.services)
        of = counted(len(self.services), "service")
        self._table.border_subtitle = f"{whole} of {of} with all replicas ready"
        self._draw_selected()

    def _draw_selected(self) -> None:
        one, facts = self.selected, self.query_one(Facts)
        facts.border_title = "" if one is None else escape(visible_line(one.name))
        nothing = "" if self.services else "No services."
        facts.show(nothing if one is None else details_of(one, self._problems))
        workers = () if one is None else one.workers
        self.query_one("#workers", SteadyTable).show(worker_rows(workers))

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """The cursor has moved."""
        event.stop()
        self._draw_selected()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter or click on a row."""
        event.stop()
        self.open_revision()

    def open_revision(self) -> None:
        """Open the job that serves."""
        if self.selected is not None:
            self.post_message(OpenJob(self.selected.revision))
