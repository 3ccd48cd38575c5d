"""Services screen: replicas, load, SLO, watts, joules and cost; all about the selected one."""

from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.content import Content

from wattline_protocol.text.visible import visible_line
from wattline_protocol.text.wording import counted
from wattline_protocol.views.service_views import ListServices, Services, ServiceView
from wattline_protocol.wire.client_messages import Answer, Request
from wattline_protocol.wire.problems import ProblemView
from wattline_tui.listing.rows import Rows
from wattline_tui.messages import OpenJob
from wattline_tui.model import View
from wattline_tui.screens.base import ListScreen, Subject, SubjectKind, TableScreen
from wattline_tui.services import (
    ServiceRow,
    details_of,
    service_rows,
    service_table,
    worker_table,
)
from wattline_tui.widgets.facts import Facts
from wattline_tui.widgets.list_pane import ListPane
from wattline_tui.widgets.list_table import ListTable


class ServicesScreen(TableScreen, ListScreen):
    """Mode 4."""

    CSS_PATH = "services.tcss"
    kind: ClassVar[SubjectKind] = "service"

    def __init__(self) -> None:
        rows = Rows(service_table, lambda one: one.name)
        super().__init__(ListPane(ListTable(rows, id="services"), "services", id="pane"))
        workers = Rows(worker_table, lambda one: one.task)
        self.worker_pane = ListPane(ListTable(workers, id="workers"), "workers", id="workers-pane")
        self.services: tuple[ServiceView, ...] = ()
        self._problems: tuple[ProblemView, ...] = ()
        self._now_unix_s = 0.0

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
        """Draw the services."""
        if not isinstance(answer, Services):
            return
        self.services, self._now_unix_s = answer.services, now_unix_s
        whole = sum(one.replicas.ready >= one.replicas.want for one in self.services)
        of = counted(len(self.services), "service")
        self.pane.facts = f"{whole} of {of} with all replicas ready"
        self.pane.table.show(service_rows(self.services, self._problems), now_unix_s)
        self._draw_selected()

    @property
    def selected(self) -> ServiceRow | None:
        """The row under the cursor."""
        one = self.pane.table.rows.row
        return one if isinstance(one, ServiceRow) else None

    def _draw_selected(self) -> None:
        one, facts = self.selected, self.query_one(Facts)
        facts.display = self.worker_pane.display = one is not None
        if one is not None:
            facts.border_title = Content(visible_line(one.name))
            facts.show(details_of(one))
            self.worker_pane.table.show(one.service.workers, self._now_unix_s)

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
        if self.selected is not None:
            self.post_message(OpenJob(self.selected.service.revision))
