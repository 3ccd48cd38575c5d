"""Views of versions: in answers of the core, and in lists."""

from wattline_protocol.data.references import version_text
from wattline_protocol.data.requests import Origin, VersionView
from wattline_protocol.ids import UnixTime
from wattline_scheduler.core.model.data.data_book import DataBook
from wattline_scheduler.data_record import DataVersionRecord

MAX_USES = 1_000


def version_view(
    book: DataBook, version: DataVersionRecord, *, in_full: bool = True
) -> VersionView:
    """The view of a version; in lists without what it was made from and what uses it."""
    record = book.sets[version.name]
    made = list(book.made_into.get(("data", version_text(version.name, version.number)), {}))
    ends = UnixTime(version.created_unix_s + record.retention_s) if record.retention_s else None
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
        made_from=version.made_from if in_full else (),
        used_by=tuple(Origin("data", name) for name in made[:MAX_USES]) if in_full else (),
        verdict=version.verdict,
        approved_by=version.approved_by,
        expires_unix_s=ends,
        removed_by=version.removed_by,
        removed_unix_s=version.removed_unix_s,
        deleted_unix_s=version.deleted_unix_s,
        deleted_objects=version.deleted_objects,
        deleted_bytes=version.deleted_bytes,
    )
