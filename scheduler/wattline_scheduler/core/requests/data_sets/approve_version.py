"""Approves versions of data sets: a candidate is published, an alias names it."""

import msgspec

from wattline_protocol.data.references import check_alias
from wattline_protocol.data.requests import ApproveData
from wattline_protocol.ids import Now
from wattline_protocol.text.wording import listed
from wattline_protocol.wire.client_messages import Answer, Denied, Done
from wattline_scheduler.core.model.events import ClientRequest
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.data_sets.find_version import find_version
from wattline_scheduler.core.requests.selection import Asker

MAX_ALIASES = 32
"""Of a set: its record is written whole with each."""


def approve(state: State, event: ClientRequest, request: ApproveData, now: Now) -> Answer:
    """By operators and reviewers; where a set has no reviewers, by its owner."""
    asker = Asker(event.user, event.role)
    found = find_version(state, asker, request.reference)
    if isinstance(found, Denied):
        return found
    record, version = found
    reviewers = record.reviewers or (record.owner,)
    reference = version.reference
    if not asker.is_operator and asker.user not in reviewers:
        text = f"{reference} is approved by {listed(reviewers)} or operators; you are {asker.user}"
        return Denied("not_allowed", text)
    if version.state == "removed":
        return Denied("conflict", f"{reference} was removed by {version.removed_by}")
    try:
        alias = check_alias(request.alias)
    except ValueError as error:
        return Denied("bad_request", str(error))
    text = f"{reference} is approved as {alias}"
    if record.aliases.get(alias) == version.number and version.state == "published":
        return Done(text)
    if alias not in record.aliases and len(record.aliases) >= MAX_ALIASES:
        aliases = listed(sorted(record.aliases))
        return Denied("busy", f"{record.name} has {MAX_ALIASES} aliases, the maximum: {aliases}")
    was = record.aliases.get(alias)
    record = msgspec.structs.replace(record, aliases={**record.aliases, alias: version.number})
    version = msgspec.structs.replace(version, state="published", approved_by=event.user)
    state.data.put_set(record)
    state.data.put_version(version)
    state.journal.save(record)
    state.journal.save(version)
    text += f" (before: v{was})" if was and was != version.number else ""
    state.journal.act("data_approved", text, now, actor=event.user)
    return Done(text)
