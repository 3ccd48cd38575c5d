"""What the store of the site has of a job's checkpoints, in the view of the job."""

from collections.abc import Mapping

from msgspec.structs import replace

from wattline_protocol.ids import JobId, NodeId, UserName
from wattline_protocol.views.site_views import JobView
from wattline_protocol.wire.task_reports.checkpoints import StoredCheckpoint
from wattline_scheduler.core.model.data.stored_checkpoints import home_of, part_of
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.node import NodeNow


def with_stored(view: JobView, stored: StoredCheckpoint | None, store: str) -> JobView:
    """With the copy that is on record."""
    if stored is None or view.checkpoint is None:
        return view
    place = part_of(store, UserName(view.owner), JobId(view.id), stored)
    is_newest = stored.step == view.checkpoint.step
    kept = replace(view.checkpoint, uploaded=is_newest, stored=stored, stored_in=place)
    return replace(view, checkpoint=kept)


def with_copies(view: JobView, job: Job, nodes: Mapping[NodeId, NodeNow]) -> JobView:
    """With what the node that copies them reports."""
    home = home_of(job.gangs[0]) if job.spec.data.outputs else None
    node = None if home is None else nodes.get(home.node)
    report = None if node is None else node.data.stored.get(job.id)
    if report is None or view.checkpoint is None:
        return view
    kept = replace(view.checkpoint, behind=report.behind, behind_why=report.detail)
    return replace(view, checkpoint=kept)
