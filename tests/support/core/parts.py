"""Answers that are found in parts, found at once."""

from wattline_protocol.ids import JobId, Now, UserName
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.site.model import Role
from wattline_protocol.views.site_views import ExplainView, JobState
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.core.explain import job_explanation as explanations
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.time_slices import at_once


def explain_job(state: State, job: Job, now: Now) -> ExplainView:
    """As that of the core, with nothing in between."""
    return at_once(explanations.explain_job(state, job, now))


def what_if(
    state: State,
    owner: UserName,
    spec: JobSpec,
    ended: dict[JobId, JobState],
    now: Now,
    role: Role = "operator",
) -> ExplainView | Denied:
    """As that of the core, with nothing in between. Operators may ask for any priority."""
    return at_once(explanations.what_if(state, Asker(owner, role), spec, ended, now))
