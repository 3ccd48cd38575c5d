"""Summaries of columns beside the manifests of a store, and what a check needs of a version.

The client that adds a version makes its summary, and any account that can write to the store can
forge it: it decides the verdict on that set alone.
"""

import hashlib
from collections.abc import Iterator
from tempfile import NamedTemporaryFile
from typing import IO

from wattline_runtime.data.columns.formats import has_columns
from wattline_runtime.data.columns.reader_process import FileToRead, read_summary
from wattline_runtime.data.columns.rules import MAX_RULES_BYTES, RULES_FILE, Rules, parse_rules
from wattline_runtime.data.columns.summary import Summary
from wattline_runtime.data.columns.summary_file import (
    MAX_SUMMARY_BYTES,
    BadSummary,
    decode_summary,
    encode_summary,
)
from wattline_runtime.data.manifest import Entry, ManifestError, object_key, summary_key
from wattline_runtime.data.stores.interface import NotInStore, Store, StoreError
from wattline_runtime.data.verify import entries_of


def put_summary(store: Store, sha256: str, summary: Summary) -> None:
    """Before the version is registered. Raises StoreError."""
    store.write(summary_key(sha256), [encode_summary(summary)])


def stored_summary(store: Store, sha256: str) -> Summary:
    """Read; or made of the version's objects, where it was added without. Raises StoreError,
    ManifestError."""
    try:
        return decode_summary(_read(store, summary_key(sha256), MAX_SUMMARY_BYTES))
    except NotInStore:
        return read_summary(_objects(store, sha256))
    except BadSummary as error:
        raise StoreError(f"{store.url}: {summary_key(sha256)}: {error}") from error


def stored_rules(store: Store, sha256: str) -> Rules:
    """The rules that travel with a version, or the defaults. Raises DocumentError, StoreError,
    ManifestError."""
    entry = next((one for one in entries_of(store, sha256) if one.path == RULES_FILE), None)
    if entry is None:
        return Rules()
    data = _read(store, object_key(entry.sha256), MAX_RULES_BYTES)
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise ManifestError(f"{store.url}: {RULES_FILE} has another SHA-256 than its version")
    return parse_rules(data.decode(errors="replace"))


def _read(store: Store, key: str, most_bytes: int) -> bytes:
    data = bytearray()
    for chunk in store.read(key):
        data += chunk
        if len(data) > most_bytes:
            raise StoreError(f"{store.url}: {key} has more than {most_bytes >> 20} MiB")
    return bytes(data)


def _objects(store: Store, sha256: str) -> Iterator[FileToRead]:
    """Files with columns, one at a time on the disk of this machine: their readers seek."""
    for entry in entries_of(store, sha256):
        if has_columns(entry.path):
            with NamedTemporaryFile(prefix="wattline-data-") as file:
                _copy(store, entry, file)
                yield FileToRead(entry.path, file.name)


def _copy(store: Store, entry: Entry, file: IO[bytes]) -> None:
    digest = hashlib.sha256()
    for chunk in store.read(object_key(entry.sha256)):
        digest.update(chunk)
        file.write(chunk)
    if digest.hexdigest() != entry.sha256:
        raise ManifestError(f"{store.url}: {entry.path} has another SHA-256 than its version")
    file.flush()
