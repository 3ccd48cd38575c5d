"""Manifests in one piece."""

from collections.abc import Iterable

from wattline_runtime.data.manifest import Entry, Manifest, entry_line, head_line


def encode_manifest(entries: Iterable[Entry]) -> bytes:
    """The manifest of some files. Raises ManifestError."""
    listed = sorted(entries, key=lambda entry: entry.path)
    head = head_line(len(listed), sum(entry.bytes for entry in listed))
    data = head + b"".join(map(entry_line, listed))
    for _ in Manifest((data,)):
        pass
    return data
