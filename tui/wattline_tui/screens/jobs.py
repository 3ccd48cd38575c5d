"""Jobs: all that are running or pending, and those that ended last."""

from typing import ClassVar

from wattline_protocol.ids import JobId
from wattline_protocol.lists.table import Table
from wattline_protocol.views.site_views import JobView
from wattline_tui.listing.jobs import Beside, beside, jobs_of_terminal
from wattline_tui.listing.rows import Rows
from wattline_tui.listing.totals import job_totals
from wattline_tui.messages import OpenJob
from wattline_tui.model import View, queue_rank
from wattline_tui.screens.base import SubjectKind, TableScreen
from wattline_tui.widgets.list_pane import ListPane
from wattline_tui.widgets.list_table import ListTable


class JobsScreen(TableScreen):
    """Mode 3."""

    kind: ClassVar[SubjectKind] = "job"

    def __init__(self) -> None:
        self._beside = Beside()
        rows = Rows(self._table, lambda job: str(job.id), queue_rank)
        table = ListTable(rows, id="jobs")
        super().__init__(ListPane(table, "jobs", id="pane", totals=job_totals))

    def _table(self, now_unix_s: float) -> Table[JobView]:
        return jobs_of_terminal(now_unix_s, self._beside)

    def draw(self, view: View) -> None:
        """Draw the jobs of the snapshot."""
        if view.site is not None:
            self._beside = beside(view.site)
            self.show_rows(view.site.jobs, view)

    def on_list_table_opened(self, event: ListTable.Opened) -> None:
        """Open the job."""
        event.stop()
        self.post_message(OpenJob(JobId(int(event.key))))
