"""Problems with meaning and remedy of the selected one; events below."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult

from wattline_protocol.lists.event_table import event_table
from wattline_protocol.lists.problem_table import problem_table
from wattline_protocol.text.wording import counted
from wattline_protocol.views.site_views import EventView
from wattline_protocol.wire.client_messages import Answer, Events, ListEvents, Request
from wattline_protocol.wire.problems import ProblemView
from wattline_tui.listing.places import gpu_of
from wattline_tui.listing.rows import Rows
from wattline_tui.messages import OpenJob, OpenNode
from wattline_tui.model import View
from wattline_tui.render.problem_text import event_text, problem_text
from wattline_tui.screens.base import ListScreen, Subject, SubjectKind, TableScreen
from wattline_tui.widgets.facts import Facts
from wattline_tui.widgets.list_pane import ListPane
from wattline_tui.widgets.list_table import ListTable

NEWEST_EVENTS = 1_000
"""Read when the screen is opened; `wattline events` has all."""


class ProblemsScreen(TableScreen, ListScreen):
    """Mode 5."""

    CSS_PATH = "problems.tcss"
    kind: ClassVar[SubjectKind] = "problem"

    def __init__(self) -> None:
        rows = Rows(problem_table, lambda one: str(one.number))
        super().__init__(ListPane(ListTable(rows, id="problems"), "problems", id="pane"))
        events = Rows(event_table, lambda one: str(one.seq))
        self.events = ListPane(ListTable(events, id="events"), "events", id="events-pane")
        self._events: dict[int, EventView] = {}
        self._is_read = False
        self._now_unix_s = 0.0

    def content(self) -> ComposeResult:
        """Problems above, then the selected one, then events."""
        yield self.pane
        yield Facts(id="facts")
        yield self.events

    def draw(self, view: View) -> None:
        """Draw the open problems and the events, the newest first."""
        site = view.site
        if site is None:
            return
        self._now_unix_s = site.unix_s
        alarms = counted(site.open_alarms, "alarm")
        facts = f"{alarms}, {counted(site.open_warnings, 'warning')} open"
        if site.problems:
            facts += f" · {self.key_of('acknowledge')}: acknowledge"
        self.show_rows(site.problems, view, facts)
        self._add(site.events)
        self._draw_selected()

    @property
    def request(self) -> Request | None:
        """The newest events, once; later ones come with each snapshot."""
        return None if self._is_read else ListEvents(after=-NEWEST_EVENTS, limit=NEWEST_EVENTS)

    def show_answer(self, answer: Answer, now_unix_s: float) -> None:
        """Draw them."""
        del now_unix_s
        if isinstance(answer, Events):
            self._is_read = True
            self._add(answer.events)

    def _add(self, events: Sequence[EventView]) -> None:
        self._events |= {one.seq: one for one in events}
        newest = sorted(self._events, reverse=True)[:NEWEST_EVENTS]
        self._events = {seq: self._events[seq] for seq in newest}
        self.events.table.show(self._events.values(), self._now_unix_s)

    def _draw_selected(self) -> None:
        pane = self.events if self.events.table.has_focus else self.pane
        one, facts = pane.table.rows.row, self.query_one(Facts)
        facts.display = one is not None
        if isinstance(one, EventView):
            facts.show(event_text(one, self._now_unix_s))
        elif one is not None:
            facts.show(problem_text(one, self._now_unix_s))

    def on_list_table_changed(self) -> None:
        """Another row is selected."""
        self._draw_selected()

    def on_descendant_focus(self) -> None:
        """In the other list."""
        self._draw_selected()

    def on_list_table_opened(self, event: ListTable.Opened) -> None:
        """Open the node or job that it is about."""
        event.stop()
        one = event.table.rows.row
        if one is not None and one.job is not None:
            self.post_message(OpenJob(one.job))
        elif one is not None and one.node is not None:
            subject = one.subject if isinstance(one, ProblemView) else ""
            self.post_message(OpenNode(one.node, gpu_of(subject, one.node)))
        else:
            self.notify("It is about no node and no job.")

    def subject(self) -> Subject | None:
        """The chosen problems; of an event, what it is about."""
        if not self.events.table.has_focus:
            return super().subject()
        one = self.events.table.rows.row
        if one is None:
            return None
        if one.job is not None:
            return Subject("job", (str(one.job),))
        return Subject("node", (one.node,)) if one.node is not None else None
