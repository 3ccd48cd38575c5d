"""Data sets and their versions."""

from collections.abc import Sequence
from typing import get_args

from wattline.lists.list_of import ListOf
from wattline.show import units
from wattline_protocol.data.requests import (
    DataAdded,
    DataSetView,
    DataVersions,
    Kind,
    Origin,
    VersionState,
    VersionView,
)
from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.table import Table
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.wording import about_size, counted
from wattline_runtime.data.verify import Verified


def added(version: DataAdded) -> str:
    """One line."""
    return version.text


def set_table(_: float) -> Table[DataSetView]:
    """The columns of sets."""
    own = Column[DataSetView]
    return Table(
        (
            own("name", kinds.TEXT, lambda one: one.name),
            own("kind", kinds.choice(*get_args(Kind)), lambda one: one.kind, weight=3),
            own("user", kinds.TEXT, lambda one: one.owner, weight=2),
            own("versions", kinds.NUMBER, lambda one: one.versions, weight=2),
            own("newest", kinds.NUMBER, lambda one: one.newest or None, text=_newest),
            own("size", kinds.SIZE, lambda one: one.bytes),
            own("stored", kinds.SIZE, lambda one: one.stored_bytes, weight=1),
            own("added", kinds.TIME, lambda one: one.created_unix_s, weight=3),
            own("aliases", kinds.TEXTS, lambda one: tuple(one.aliases), text=_aliases, weight=1),
            own("contains", kinds.TEXTS, lambda one: one.contains, weight=5, is_usual=False),
            own("store", kinds.TEXT, lambda one: one.store, weight=4, grows=True),
        ),
        empty="No data sets.",
    )


SETS = ListOf[Sequence[DataSetView], DataSetView](
    set_table, applies=lambda given: given["name"] is None
)


def _newest(row: DataSetView) -> str:
    return f"v{row.newest}" if row.newest else units.NOT_KNOWN


def _aliases(row: DataSetView) -> str:
    named = sorted(row.aliases.items())
    return " ".join(f"{name}=v{number}" for name, number in named) or units.NOT_KNOWN


def version_table(_: float) -> Table[VersionView]:
    """The columns of versions of one set."""
    own = Column[VersionView]
    return Table(
        (
            own("version", kinds.NUMBER, lambda v: v.number, text=lambda v: v.reference),
            own("state", kinds.choice(*get_args(VersionState)), lambda one: one.state),
            own("files", kinds.NUMBER, lambda v: v.files, text=lambda v: f"{v.files:,}", weight=2),
            own("size", kinds.SIZE, lambda one: one.bytes),
            own("stored", kinds.SIZE, lambda one: one.stored_bytes, weight=1),
            own("added", kinds.TIME, lambda one: one.created_unix_s, weight=1),
            own("expires", kinds.TIME, lambda v: v.expires_unix_s, weight=5, is_usual=False),
            own("by", kinds.TEXT, lambda one: one.created_by, weight=3),
            own("aliases", kinds.TEXTS, lambda one: one.aliases, text=_named),
            own("check", kinds.choice(*VERDICTS), _check, weight=2),
            own("sha256", kinds.TEXT, lambda one: one.sha256, weight=4, grows=True),
        ),
        empty="No versions.",
    )


VERSIONS = ListOf[Sequence[VersionView], VersionView](
    version_table, applies=lambda given: given["name"] is not None
)


VERDICTS = ("ok", "broken", "approved", "none")


def _check(row: VersionView) -> str:
    """The verdict of the check when it was added; `approved` in spite of it."""
    if row.verdict is None:
        return "none"
    return "ok" if row.verdict.ok else "approved" if row.approved_by else "broken"


def _named(row: VersionView) -> str:
    return ",".join(row.aliases) or units.NOT_KNOWN


def detail(found: DataVersions) -> str:
    """A version in lines of name and value."""
    version = found.version
    about = found.about
    size = f"{counted(version.files, 'file')}, {about_size(version.bytes)}"
    retention = format_duration(about.retention_s) if about.retention_s else ""
    rows = [
        ("version", f"{version.reference} ({about.kind})"),
        ("state", _state(version)),
        ("aliases", ", ".join(version.aliases)),
        ("content", f"{size}; {about_size(version.stored_bytes)} stored for it"),
        ("sha256", version.sha256),
        ("store", about.store),
        ("added", f"{units.clock(version.created_unix_s)} by {version.created_by}"),
        ("owner", about.owner),
        ("readers", ", ".join(about.readers) or "all users"),
        ("reviewers", ", ".join(about.reviewers)),
        ("contains", ", ".join(about.contains)),
        ("retention", retention),
        ("check", _verdict(version)),
        *_origins("made from", version.made_from),
        *_lines("stale", [f"{name}; {newer} is the latest" for name, newer in version.stale]),
        *_lines("outdates", list(version.outdates)),
        *_origins("used by", version.used_by),
    ]
    return "\n".join(f"{name:<10} {value}" for name, value in rows if value)


def _state(version: VersionView) -> str:
    if version.state == "removed":
        removed = f"removed {units.clock(version.removed_unix_s)} by {version.removed_by}"
        if version.deleted_unix_s is None:
            return f"{removed}; its bytes are being deleted (repeat `wattline data rm`)"
        objects = counted(version.deleted_objects, "object")
        return f"{removed}; {objects}, {about_size(version.deleted_bytes)} left the store"
    return version.state + (f", approved by {version.approved_by}" if version.approved_by else "")


def _verdict(version: VersionView) -> str:
    verdict = version.verdict
    if verdict is None:
        return ""
    against = f"against v{verdict.against}" if verdict.against else "of a first version"
    return f"{against}: {'ok' if verdict.ok else verdict.text}"


def _origins(title: str, origins: Sequence[Origin]) -> list[tuple[str, str]]:
    return _lines(title, [f"{one.kind} {one.name}" for one in origins])


def _lines(title: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    return [(title if at == 0 else "", text) for at, text in enumerate(texts)]


def verified(result: Verified) -> str:
    """What was read, then what differs."""
    size = f"{counted(result.files, 'file')}, {about_size(result.bytes)}"
    if result.ok:
        return f"{size}: all as they were added"
    lines = [f"{one.path}: {one.problem}" if one.path else one.problem for one in result.problems]
    more = [f"and {result.more} more"] if result.more else []
    return "\n".join([f"{size} read; these are not as they were added:", *lines, *more])
