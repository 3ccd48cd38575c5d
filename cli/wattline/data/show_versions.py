"""Data sets and their versions."""

from collections.abc import Sequence

from wattline.show import units
from wattline.show.tables import Column, Listing
from wattline_protocol.data.requests import (
    DataAdded,
    DataSetView,
    DataVersions,
    Origin,
    VersionView,
)
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.wording import about_size, counted
from wattline_runtime.data.verify import Verified


def added(version: DataAdded) -> str:
    """One line."""
    return version.text


def listing(rows: Sequence[DataSetView] | Sequence[VersionView]) -> Listing:
    """One line a set, or a version."""
    if all(isinstance(row, VersionView) for row in rows) and rows:
        return _versions([row for row in rows if isinstance(row, VersionView)])
    return _sets([row for row in rows if isinstance(row, DataSetView)])


def _sets(rows: Sequence[DataSetView]) -> Listing:
    return Listing(
        columns=(
            Column("NAME", [r.name for r in rows]),
            Column("KIND", [r.kind for r in rows], weight=3),
            Column("OWNER", [r.owner for r in rows], weight=2),
            Column("VERSIONS", [str(r.versions) for r in rows], is_right=True, weight=2),
            Column("NEWEST", [f"v{r.newest}" if r.newest else "-" for r in rows]),
            Column("SIZE", [about_size(r.bytes) for r in rows], is_right=True),
            Column("STORED", [about_size(r.stored_bytes) for r in rows], is_right=True, weight=1),
            Column("ADDED", [units.clock(r.created_unix_s) for r in rows], weight=3),
            Column("ALIASES", [_aliases(r.aliases) for r in rows], weight=1),
            Column("STORE", [r.store for r in rows], weight=4, grows=True),
        ),
        empty="No data sets.",
    )


def _aliases(aliases: dict[str, int]) -> str:
    return " ".join(f"{name}=v{number}" for name, number in sorted(aliases.items())) or "-"


def _versions(rows: Sequence[VersionView]) -> Listing:
    return Listing(
        columns=(
            Column("VERSION", [r.reference for r in rows]),
            Column("STATE", [r.state for r in rows]),
            Column("FILES", [f"{r.files:,}" for r in rows], is_right=True, weight=2),
            Column("SIZE", [about_size(r.bytes) for r in rows], is_right=True),
            Column("STORED", [about_size(r.stored_bytes) for r in rows], is_right=True, weight=1),
            Column("ADDED", [units.clock(r.created_unix_s) for r in rows], weight=1),
            Column("BY", [r.created_by for r in rows], weight=3),
            Column("ALIASES", [",".join(r.aliases) or "-" for r in rows]),
            Column("SHA256", [r.sha256 for r in rows], weight=4, grows=True),
        ),
        empty="No versions.",
    )


def detail(found: DataVersions) -> str:
    """A version in lines of name and value."""
    (version,) = found.versions
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
    if not verdict.against:
        return "the first version: nothing to check against"
    return f"against v{verdict.against}: {'ok' if verdict.ok else verdict.text}"


def _origins(title: str, origins: Sequence[Origin]) -> list[tuple[str, str]]:
    names = [f"{one.kind} {one.name}" for one in origins]
    return [(title if at == 0 else "", name) for at, name in enumerate(names)]


def verified(result: Verified) -> str:
    """What was read, then what differs."""
    size = f"{counted(result.files, 'file')}, {about_size(result.bytes)}"
    if result.ok:
        return f"{size}: all as they were added"
    lines = [f"{one.path}: {one.problem}" if one.path else one.problem for one in result.problems]
    more = [f"and {result.more} more"] if result.more else []
    return "\n".join([f"{size} read; these are not as they were added:", *lines, *more])
