"""Views of versions: in answers of the core, and in lists."""

from collections.abc import Iterator
from itertools import islice

from wattline_protocol.data.references import parse_reference
from wattline_protocol.data.requests import Origin, OriginKind, VersionView
from wattline_scheduler.core.model.data.data_book import expires_unix_s
from wattline_scheduler.core.model.data.stale_versions import (
    MayRead,
    inputs_with_newer,
    made_from_older,
)
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.state import State
from wattline_scheduler.data_record import DataVersionRecord

MAX_USES = 1_000


def jobs_that_read(state: State, reference: str) -> Iterator[Job]:
    """Jobs in memory that name a version: open ones, and the newest ended ones."""
    return (job for job in state.work.jobs.values() if reference in job.spec.data.datasets)


def _uses(state: State, reference: str, may_read: MayRead) -> Iterator[Origin]:
    made = state.data.made_into.get(("data", reference), ())
    yield from (Origin("data", one) for one in made if may_read(one))
    for job in jobs_that_read(state, reference):
        kind: OriginKind = "service" if job.spec.kind == "service" else "job"
        name = job.spec.name if kind == "service" else str(job.id)
        yield Origin(kind, name, f"job {job.id}, {job.record.state}")


def _sources(state: State, version: DataVersionRecord, may_read: MayRead) -> Iterator[Origin]:
    """What it was made from. The hash of a manifest is as on record here, and for readers alone:
    by it an account of a node finds the copy in its cache."""
    for origin in version.made_from:
        if origin.kind != "data":
            yield origin
        else:
            found = state.data.find(parse_reference(origin.name))
            digest = "" if isinstance(found, str) else found.sha256
            yield Origin("data", origin.name, digest if may_read(origin.name) else "")


def version_view(
    state: State, version: DataVersionRecord, may_read: MayRead, *, in_full: bool = True
) -> VersionView:
    """The view of a version for a user that may read some others; in lists without what it was
    made from and what uses it."""
    record = state.data.sets[version.name]
    uses = islice(_uses(state, version.reference, may_read), MAX_USES)
    return VersionView(
        name=version.name,
        number=version.number,
        kind=record.kind,
        state=version.state,
        files=version.files,
        bytes=version.bytes,
        stored_bytes=version.stored_bytes,
        sha256=version.sha256,
        created_unix_s=version.created_unix_s,
        created_by=version.created_by,
        aliases=tuple(name for name, at in record.aliases.items() if at == version.number),
        made_from=tuple(_sources(state, version, may_read)) if in_full else (),
        used_by=tuple(uses) if in_full else (),
        stale=inputs_with_newer(state.data, version, may_read) if in_full else (),
        outdates=made_from_older(state.data, version, may_read) if in_full else (),
        is_made_by_job=version.recipe is not None,
        verdict=version.verdict,
        approved_by=version.approved_by,
        expires_unix_s=expires_unix_s(record, version),
        removed_by=version.removed_by,
        removed_unix_s=version.removed_unix_s,
        deleted_unix_s=version.deleted_unix_s,
        deleted_objects=version.deleted_objects,
        deleted_bytes=version.deleted_bytes,
    )
