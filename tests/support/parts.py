"""Answers that are found in parts, found at once."""

from wattline_protocol.ids import JobId, Now, UserName
from wattline_protocol.job import JobSpec
from wattline_protocol.requests import Denied
from wattline_protocol.site import Role
from wattline_protocol.views import ExplainView, JobState
from wattline_scheduler.core import outlook as outlooks
from wattline_scheduler.core.jobs import Job
from wattline_scheduler.core.selecting import Asker
from wattline_scheduler.core.state import State
from wattline_scheduler.plan.parts import at_once


def outlook(state: State, job: Job, now: Now) -> ExplainView:
    """As that of the core, with nothing in between."""
    return at_once(outlooks.outlook(state, job, now))


def what_if(
    state: State,
    owner: UserName,
    spec: JobSpec,
    ended: dict[JobId, JobState],
    now: Now,
    role: Role = "operator",
) -> ExplainView | Denied:
    """As that of the core, with nothing in between. Operators may ask for any priority."""
    return at_once(outlooks.what_if(state, Asker(owner, role), spec, ended, now))
