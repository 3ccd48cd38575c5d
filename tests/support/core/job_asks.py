"""What tests ask a real scheduler about jobs, and look up on its disk."""

import sqlite3
from pathlib import Path

from support.core.sites import job
from support.programs.live_scheduler import WireClient
from wattline_protocol.ids import JobId
from wattline_protocol.views.site_views import JobView
from wattline_protocol.wire.client_messages import GetJob, Jobs, Submit, Submitted


def submit(client: WireClient, name: str = "work", token: str | None = None) -> JobId:
    """Submit a job of one task; its number."""
    answer = client.ask(Submit(job(name).build(), token or name))
    assert isinstance(answer, Submitted), answer
    return answer.job


def view(client: WireClient, number: JobId) -> JobView:
    """The job as clients see it."""
    answer = client.ask(GetJob(number))
    assert isinstance(answer, Jobs), answer
    return answer.jobs[0]


def jobs_on_disk(state: Path) -> set[int]:
    """Numbers of the jobs in the store, read beside the scheduler."""
    with sqlite3.connect(state / "wattline.db") as db:
        found = {row[0] for row in db.execute("SELECT id FROM jobs")}
    db.close()
    return found
