"""What needs attention, and the head of the queue: rows that Enter opens."""

from collections.abc import Sequence
from typing import ClassVar

from wattline_protocol.ids import JobId
from wattline_protocol.text.wording import counted
from wattline_protocol.views.site_views import SiteView
from wattline_tui.listing.totals import open_totals
from wattline_tui.render.attention import Entry, attention_entries, attention_lines
from wattline_tui.render.lines import Line
from wattline_tui.render.queue import Queued, queue_lines, queued_jobs
from wattline_tui.widgets.row_panel import RowPanel


class AttentionPanel(RowPanel):
    """Problems, domains that limit work, lowered budgets."""

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's own parameter name
        super().__init__(id=id)
        self._entries: list[Entry] = []

    def show(self, site: SiteView) -> None:
        """Draw this snapshot."""
        self._entries = attention_entries(site)
        self.show_keys([one.key for one in self._entries])
        open_count = site.open_alarms + site.open_warnings
        self.titled("attention", f"{counted(open_count, 'problem')} open")

    @property
    def entry(self) -> Entry | None:
        """The one under the cursor."""
        return next((one for one in self._entries if one.key == self.cursor), None)

    def row_lines(self, width: int, height: int) -> Sequence[Line]:
        """Those in view."""
        return attention_lines(self._entries, self.marked, width, height, self.first)


class QueuePanel(RowPanel):
    """The jobs that start next."""

    HEADING_LINES: ClassVar[int] = 1

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's own parameter name
        super().__init__(id=id)
        self._queued: list[Queued] = []
        self._now_s = 0.0

    def show(self, site: SiteView) -> None:
        """Draw this snapshot."""
        self._queued, self._now_s = queued_jobs(site), site.unix_s
        self.show_keys([str(one.job.id) for one in self._queued])
        self.titled("head of the queue", open_totals(site.jobs))

    @property
    def job(self) -> JobId | None:
        """The one under the cursor."""
        return None if self.cursor is None else JobId(int(self.cursor))

    def row_lines(self, width: int, height: int) -> Sequence[Line]:
        """A heading, and those in view."""
        marked = JobId(int(self.marked)) if self.marked is not None else None
        return queue_lines(self._queued, marked, self._now_s, width, height, self.first)
