"""Services and routes: replicas, load, SLO, watts, joules, cost; all about the selected one."""

from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.content import Content

from wattline_protocol.lists.service_table import Named
from wattline_protocol.lists.table import Table
from wattline_protocol.lists.worker_table import worker_table
from wattline_protocol.text.visible import visible_line
from wattline_protocol.text.wording import counted
from wattline_protocol.views.service_views import ListServices, RouteView, Services, ServiceView
from wattline_protocol.wire.client_messages import Answer, Request
from wattline_protocol.wire.problems import ProblemView
from wattline_tui.listing.rows import Rows
from wattline_tui.listing.services import all_ready, problems_of, services_of_terminal
from wattline_tui.messages import OpenJob
from wattline_tui.model import View
from wattline_tui.render.service_text import service_text
from wattline_tui.screens.base import ListScreen, Subject, SubjectKind, TableScreen
from wattline_tui.widgets.facts import Facts
from wattline_tui.widgets.list_pane import ListPane
from wattline_tui.widgets.list_table import ListTable


class ServicesScreen(TableScreen, ListScreen):
    """Mode 4."""

    CSS_PATH = "services.tcss"
    kind: ClassVar[SubjectKind] = "service"

    def __init__(self) -> None:
        self.services: tuple[ServiceView, ...] = ()
        self._problems: tuple[ProblemView, ...] = ()
        self._now_unix_s = 0.0
        rows = Rows(self._table, lambda one: one.name)
        super().__init__(ListPane(ListTable(rows, id="services"), "services", id="pane"))
        workers = Rows(worker_table, lambda one: one.task)
        self.worker_pane = ListPane(ListTable(workers, id="workers"), "workers", id="workers-pane")

    def _table(self, now_unix_s: float) -> Table[Named]:
        return services_of_terminal(now_unix_s, self._problems_of)

    def _problems_of(self, one: Named) -> list[str]:
        return problems_of(one, self._problems)

    @property
    def request(self) -> Request:
        """The whole list."""
        return ListServices()

    def content(self) -> ComposeResult:
        """All of them above, the selected one below, then its workers."""
        yield self.pane
        yield Facts(id="facts")
        yield self.worker_pane

    def draw(self, view: View) -> None:
        """Problems come with each snapshot."""
        if view.site is not None:
            self._problems = view.site.problems

    def show_answer(self, answer: Answer, now_unix_s: float) -> None:
        """Draw the services, then the routes."""
        if not isinstance(answer, Services):
            return
        self.services, self._now_unix_s = answer.services, now_unix_s
        of = counted(len(answer.services), "service")
        ready = f"{all_ready(answer.services)} of {of} with all replicas ready"
        routes = counted(len(answer.routes), "route")
        self.pane.facts = f"{ready} · {routes}" if answer.routes else ready
        self.pane.table.show((*answer.services, *answer.routes), now_unix_s)
        self._draw_selected()

    @property
    def selected(self) -> Named | None:
        """The row under the cursor."""
        one = self.pane.table.rows.row
        return one if isinstance(one, ServiceView | RouteView) else None

    def _draw_selected(self) -> None:
        one, facts = self.selected, self.query_one(Facts)
        facts.display = one is not None
        self.worker_pane.display = isinstance(one, ServiceView)
        if one is None:
            return
        facts.border_title = Content(visible_line(one.name))
        facts.show(service_text(one, self._problems_of(one)))
        if isinstance(one, ServiceView):
            self.worker_pane.table.show(one.workers, self._now_unix_s)

    def subject(self) -> Subject | None:
        """The chosen services; acts on jobs are on those that serve them."""
        chosen = super().subject()
        if chosen is None:
            return None
        jobs = (str(one.revision) for one in self.services if one.name in chosen.keys)
        return replace(chosen, within=Subject("job", tuple(jobs)))

    def on_list_table_changed(self, event: ListTable.Changed) -> None:
        """The cursor has moved."""
        if event.table is self.pane.table:
            self._draw_selected()

    def on_list_table_opened(self, event: ListTable.Opened) -> None:
        """Open the job that serves."""
        event.stop()
        one = self.selected
        if isinstance(one, ServiceView):
            self.post_message(OpenJob(one.revision))
        elif one is not None:
            self.notify(f"{one.name} is a route: no job serves it.", markup=False)
