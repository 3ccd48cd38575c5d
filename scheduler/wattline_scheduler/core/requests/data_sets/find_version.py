"""Resolves references of users to versions that they may read."""

from wattline_protocol.data.references import parse_reference
from wattline_protocol.text.wording import listed
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.core.model.data.data_book import may_read
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.data_record import DataSetRecord, DataVersionRecord


def find_version(
    state: State, asker: Asker, text: str
) -> tuple[DataSetRecord, DataVersionRecord] | Denied:
    """The set and the version of a reference. The version may be removed."""
    try:
        reference = parse_reference(text)
    except ValueError as error:
        return Denied("bad_request", str(error))
    found = state.data.find(reference)
    if reference.name not in state.data.sets:
        return no_set(state, asker, reference.name)
    denied = not_for_user(state.data.sets[reference.name], asker)
    if denied is not None:
        return denied
    if isinstance(found, str):
        return Denied("not_found", found)
    return state.data.sets[reference.name], found


def no_set(state: State, asker: Asker, name: str) -> Denied:
    """There is no set of that name."""
    text = state.data.unknown(name, asker.user, is_operator=asker.is_operator)
    return Denied("not_found", text)


def is_readable(state: State, asker: Asker, reference: str) -> bool:
    """Whether the user may read a version that is on record."""
    record = state.data.sets[reference.partition("@")[0]]
    return may_read(record, asker.user, is_operator=asker.is_operator)


def not_for_user(record: DataSetRecord, asker: Asker) -> Denied | None:
    """Denies a set that the user may not read."""
    if may_read(record, asker.user, is_operator=asker.is_operator):
        return None
    users = listed((record.owner, *record.readers))
    text = f"{record.kind} {record.name} is for {users}; you are {asker.user}"
    return Denied("not_allowed", text)
