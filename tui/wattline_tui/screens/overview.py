"""Overview screen: where the watts are, how the fleet is, what needs attention, what waits."""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical

from wattline_protocol.ids import DomainId
from wattline_protocol.views.history_views import GetHistory, History
from wattline_protocol.views.history_views import Subject as Of
from wattline_protocol.views.site_views import SiteView
from wattline_protocol.wire.client_messages import Answer, Request
from wattline_tui.actions import Place, bindings
from wattline_tui.listing.places import Target, gpu_of
from wattline_tui.messages import FilterJobs, GoTo, OpenJob, OpenNode
from wattline_tui.model import View
from wattline_tui.render.heights import heights_of
from wattline_tui.render.trees import HEADING_LINES, SPARK_STEP_S, shares_of
from wattline_tui.screens.base import ListScreen, Subject
from wattline_tui.widgets.attention_panel import AttentionPanel, QueuePanel
from wattline_tui.widgets.events import EventLines
from wattline_tui.widgets.fleet_panel import FleetPanel
from wattline_tui.widgets.panel import Panel
from wattline_tui.widgets.row_panel import RowPanel
from wattline_tui.widgets.tree_panel import TreePanel

WIDE_FROM = 110
"""A narrower screen has its panels one below the other, without borders."""
CHROME_LINES = 2
"""Status line and keys."""
HISTORY_EVERY_S = 15.0
"""A sparkline has one character a minute."""


class OverviewScreen(ListScreen):
    """Mode 1."""

    CSS_PATH = "overview.tcss"
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012 - Textual's own, not a class variable there
        (0, "-narrow"),
        (WIDE_FROM, "-wide"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("site")]
    place: ClassVar[Place] = "site"

    def __init__(self) -> None:
        super().__init__()
        self._site: SiteView | None = None
        self._sparks: dict[DomainId, Sequence[float]] = {}
        self._asked_unix_s = 0.0
        self._zoomed = ""
        """Id of the panel that is shown alone."""

    def content(self) -> ComposeResult:
        """Watts beside the fleet, what needs attention below, then the queue."""
        with Vertical(id="content"):
            with Horizontal(id="top"):
                yield TreePanel(id="tree")
                yield FleetPanel(id="fleet")
            yield AttentionPanel(id="attention")
            yield QueuePanel(id="queue")
            yield EventLines(id="events")

    def on_mount(self) -> None:
        """Keys act on what needs attention first."""
        self.query_one(AttentionPanel).focus()

    # --- drawing --------------------------------------------------------------------------

    def draw(self, view: View) -> None:
        """Draw every panel."""
        site = view.site
        if site is None:
            return
        self._site = site
        self.query_one(TreePanel).show(site.domains, self._sparks, site.unix_s)
        self.query_one(FleetPanel).show(site.nodes, site.jobs)
        self.query_one(AttentionPanel).show(site)
        self.query_one(QueuePanel).show(site)
        self.query_one(EventLines).show(site)
        self._fit(site)

    def on_resize(self) -> None:
        """Other heights."""
        if self._site is not None:
            self._fit(self._site)

    def _fit(self, site: SiteView) -> None:
        """A panel takes no more lines than it has rows; one that is zoomed takes all."""
        self.query_one("#top").display = self._zoomed in ("", "tree", "fleet")
        self.query_one("#top").styles.height = "1fr" if self._zoomed else "auto"
        for panel in self.query(Panel):
            panel.display = self._zoomed in ("", panel.id)
            if self._zoomed:
                panel.styles.height = "1fr"
        if self._zoomed:
            self.query_one(EventLines).display = False
        else:
            self._lay_out(site)

    def _lay_out(self, site: SiteView) -> None:
        border = 2 if self.size.width >= WIDE_FROM else 0
        fleet = self.query_one(FleetPanel)
        heights = heights_of(
            self.size.height - CHROME_LINES,
            domains=len(site.domains) + HEADING_LINES,
            attention=self.query_one(AttentionPanel).row_count,
            queue=self.query_one(QueuePanel).row_count,
            border=border,
            fleet_lines=partial(fleet.lines_at, fleet.size.width),
        )
        self.query_one(AttentionPanel).styles.height = heights.attention
        self.query_one(QueuePanel).styles.height = heights.queue
        self.query_one(TreePanel).styles.height = heights.tree
        fleet.styles.height = heights.fleet
        events = self.query_one(EventLines)
        events.display = heights.events > 0
        events.styles.height = heights.events

    # --- the last 15 minutes --------------------------------------------------------------

    @property
    def request(self) -> Request | None:
        """The history of the domains in view, now and then."""
        now_s = 0.0 if self._site is None else self._site.unix_s
        shown = self.query_one(TreePanel).domains_shown
        is_due = now_s - self._asked_unix_s >= HISTORY_EVERY_S
        if not shown or not (is_due or any(one not in self._sparks for one in shown)):
            return None
        self._asked_unix_s = now_s
        return GetHistory(tuple(Of("domain", one) for one in shown), step_s=SPARK_STEP_S)

    def show_answer(self, answer: Answer, now_unix_s: float) -> None:
        """Draw it."""
        del now_unix_s
        if isinstance(answer, History) and self._site is not None:
            self._sparks |= shares_of(answer)
            self.query_one(TreePanel).show(self._site.domains, self._sparks, self._site.unix_s)

    # --- what keys act on -----------------------------------------------------------------

    def subject(self) -> Subject | None:
        """The domain, node or job under the cursor of the panel in focus."""
        panel = self.focused
        if isinstance(panel, TreePanel) and panel.cursor is not None:
            return Subject("domain", (panel.cursor,))
        if isinstance(panel, QueuePanel) and panel.cursor is not None:
            return Subject("job", (panel.cursor,))
        if isinstance(panel, AttentionPanel) and panel.entry is not None:
            entry = panel.entry
            if entry.problem is not None:
                return Subject("problem", (str(entry.problem),))
            return Subject("domain", (entry.domain,)) if entry.domain is not None else None
        return None

    def on_row_panel_opened(self, event: RowPanel.Opened) -> None:
        """Enter on a row."""
        event.stop()
        panel = event.panel
        if isinstance(panel, TreePanel):
            self.post_message(GoTo(Target("domain", event.key, "power", event.key)))
        elif isinstance(panel, QueuePanel) and panel.job is not None:
            self.post_message(OpenJob(panel.job))
        elif isinstance(panel, AttentionPanel) and panel.entry is not None:
            self._open_entry(panel)

    def _open_entry(self, panel: AttentionPanel) -> None:
        entry = panel.entry
        if entry is None:
            return
        if entry.job is not None:
            self.post_message(OpenJob(entry.job))
        elif entry.node is not None:
            self.post_message(OpenNode(entry.node, gpu_of(entry.subject, entry.node)))
        elif entry.domain is not None:
            self.post_message(GoTo(Target("domain", entry.domain, "power", entry.domain)))
        elif entry.problem is not None:
            key = str(entry.problem)
            self.post_message(GoTo(Target("problem", key, "problems", key)))

    def action_heat(self) -> None:
        """Another figure in the cells of the fleet."""
        self.query_one(FleetPanel).show_next()

    def action_zoom(self) -> None:
        """The panel in focus alone, or all of them again."""
        if isinstance(self.focused, Panel) and self._site is not None:
            self._zoomed = "" if self._zoomed else str(self.focused.id)
            self._fit(self._site)

    def action_filter_jobs(self) -> None:
        """Filter the list of jobs."""
        self.post_message(FilterJobs())
