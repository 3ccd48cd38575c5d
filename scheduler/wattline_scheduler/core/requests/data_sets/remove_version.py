"""Removes versions of data sets, and takes the receipts of what was deleted."""

from functools import partial

import msgspec

from wattline_protocol.data.references import parse_reference, version_text
from wattline_protocol.data.requests import DataRemoval, RemoveData, ReportDeletion
from wattline_protocol.ids import Now
from wattline_protocol.text.wording import about_size, counted, listed, named
from wattline_protocol.wire.client_messages import Answer, Denied, Done
from wattline_scheduler.core.lifecycle.data.node_lists import drop_copies
from wattline_scheduler.core.model.data.version_views import jobs_that_read, version_view
from wattline_scheduler.core.model.events import ClientRequest
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.data_sets.add_version import place_of
from wattline_scheduler.core.requests.data_sets.find_version import find_version, is_readable
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.data_record import DataSetRecord, DataVersionRecord


def remove(
    state: State, event: ClientRequest, request: RemoveData, now: Now
) -> DataRemoval | Denied:
    """Removes a version: no job reads it any more. The client then deletes its bytes; a repeat
    continues a deletion that was interrupted."""
    asker = Asker(event.user, event.role)
    found = find_version(state, asker, request.reference)
    if isinstance(found, Denied):
        return found
    record, version = found
    if not parse_reference(request.reference).number:  # what an alias names may change meanwhile
        text = f"name the version to remove, as in {version.reference}"
        return Denied("bad_request", text)
    denied = _not_owner(asker, record) or _is_deleted(version)
    if denied is not None:
        return denied
    if barred := state.data.deletion_barred(version, event.user, now.unix_s):
        return Denied("busy", barred)
    text = f"{version.reference} is removed"
    if version.state != "removed":
        if (needed := _needed(state, version)) is not None:
            return needed
        version, text = _removed(state, event, record, version, now)
    keeps_bytes = state.data.keeps_bytes(version)
    if keeps_bytes:
        version = _receipt(state, version, 0, 0, now)
    else:
        state.data.begin_deletion(version, event.user, now.unix_s)
    place = place_of(state, record.store)
    return DataRemoval(
        version_view(state, version, partial(is_readable, state, asker)), place, keeps_bytes, text
    )


def _removed(
    state: State,
    event: ClientRequest,
    record: DataSetRecord,
    version: DataVersionRecord,
    now: Now,
) -> tuple[DataVersionRecord, str]:
    aliases = {name: at for name, at in record.aliases.items() if at != version.number}
    text = f"{version.reference} is removed"
    if ended := sorted(record.aliases.keys() - aliases.keys()):
        text += f"; alias {listed(ended)} ends"
        record = msgspec.structs.replace(record, aliases=aliases)
        state.data.put_set(record)
        state.journal.save(record)
    version = msgspec.structs.replace(
        version, state="removed", removed_by=event.user, removed_unix_s=now.unix_s
    )
    state.data.put_version(version)
    state.journal.save(version)
    drop_copies(state, version.sha256)
    state.journal.act("data_removed", text, now, actor=event.user)
    return version, text


def take_receipt(state: State, event: ClientRequest, request: ReportDeletion, now: Now) -> Answer:
    """Records what left the store for a removed version."""
    asker = Asker(event.user, event.role)
    found = find_version(state, asker, version_text(request.name, request.number))
    if isinstance(found, Denied):
        return found
    record, version = found
    denied = _not_owner(asker, record)
    if denied is not None:
        return denied
    reference = version.reference
    if version.state != "removed":
        return Denied("conflict", f"{reference} is not removed (wattline data rm {reference})")
    if version.deleted_unix_s is None:
        version = _receipt(state, version, request.objects, request.bytes, now)
        text = _receipt_text(version)
        state.journal.act("data_deleted", text, now, actor=event.user)
    return Done(_receipt_text(version))


def _receipt(
    state: State, version: DataVersionRecord, objects: int, size: int, now: Now
) -> DataVersionRecord:
    version = msgspec.structs.replace(
        version, deleted_unix_s=now.unix_s, deleted_objects=objects, deleted_bytes=size
    )
    state.data.put_version(version)
    state.data.end_deletion(version, now.unix_s)
    state.journal.save(version)
    return version


def _receipt_text(version: DataVersionRecord) -> str:
    what = f"{counted(version.deleted_objects, 'object')}, {about_size(version.deleted_bytes)}"
    return f"{version.reference}: {what} deleted from its store"


def _needed(state: State, version: DataVersionRecord) -> Denied | None:
    """Denies to remove what a job that has not ended reads."""
    reads = jobs_that_read(state, version.reference)
    needs = [job for job in reads if not job.is_ended]
    if not needs:
        return None
    services = [f"service {job.spec.name}" for job in needs if job.spec.kind == "service"]
    jobs = [job.id for job in needs if job.spec.kind != "service"]
    names = [*services, *([named("job", jobs)] if jobs else [])]
    text = f"{version.reference} is needed by {listed(names)}"
    return Denied("conflict", f"{text}: cancel what needs it, or wait for its end")


def _not_owner(asker: Asker, record: DataSetRecord) -> Denied | None:
    if asker.may_act_for(record.owner):
        return None
    text = f"{record.kind} {record.name} belongs to {record.owner}; you are {asker.user}"
    return Denied("not_allowed", text)


def _is_deleted(version: DataVersionRecord) -> Denied | None:
    if version.deleted_unix_s is None:
        return None
    text = f"{version.reference} was removed by {version.removed_by}; {_receipt_text(version)}"
    return Denied("conflict", text)
