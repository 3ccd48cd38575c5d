"""Submits again the job that made a version, to be compared with it."""

import msgspec

from wattline_protocol.data.requests import RebuildData
from wattline_protocol.ids import Now
from wattline_protocol.job.spec import DataSpec
from wattline_protocol.wire.client_messages import Answer, Denied, Submit
from wattline_scheduler.core.model.events import ClientRequest
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.data_sets.find_version import find_version
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.core.requests.submit import submit


def rebuild(state: State, event: ClientRequest, request: RebuildData, now: Now) -> Answer:
    """By the owner of the set: the recipe has the variables of its job, and runs as its user."""
    found = find_version(state, Asker(event.user, event.role), request.reference)
    if isinstance(found, Denied):
        return found
    record, version = found
    if record.owner != event.user:
        text = f"{record.kind} {record.name} belongs to {record.owner}; you are {event.user}"
        return Denied("not_allowed", f"{text}: its owner rebuilds its versions")
    if version.recipe is None:
        text = f"{version.reference} was added by {version.created_by}, not made by a job"
        return Denied("conflict", f"{text}: there is nothing to run again")
    read = version.recipe.data
    data = DataSpec(read.datasets, read.check, rebuilds=version.reference)
    spec = msgspec.structs.replace(version.recipe, data=data)
    return submit(state, event, Submit(spec, request.token), now)
