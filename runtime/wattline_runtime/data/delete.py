"""Deletes from a store what a removed version had alone.

Objects of other registered versions stay. What else lies in the store, put there by anybody that
may write to it, keeps nothing. The version's own manifest is deleted last: a deletion that was
interrupted is repeated from the beginning.
"""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import msgspec

from wattline_protocol.data.requests import MAX_ASKED_MANIFESTS
from wattline_runtime.data.manifest import Entry, manifest_key, object_key, summary_key
from wattline_runtime.data.stores.interface import NotInStore, Store
from wattline_runtime.data.verify import entries_of

MANIFESTS = "manifests/"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Deleted(msgspec.Struct, frozen=True):
    """A receipt."""

    objects: int
    bytes: int


def delete_version(
    store: Store,
    sha256: str,
    registered: Callable[[Sequence[str]], Iterable[str]],
    renew: Callable[[], None],
) -> Deleted:
    """Deletes the objects that no manifest of another version in the store lists. `registered`:
    those of at most `MAX_ASKED_MANIFESTS` manifests that are of versions. `renew` is called before
    each object: it raises once the version may no longer be deleted. Raises StoreError,
    ManifestError."""
    only = {bytes.fromhex(one.sha256): one.bytes for one in _entries(store, sha256)}
    for other in _others(store, sha256, registered):
        for entry in _entries(store, other):
            only.pop(bytes.fromhex(entry.sha256), None)
    objects = size = 0
    for digest, count in only.items():
        renew()
        store.delete(object_key(digest.hex()))
        objects, size = objects + 1, size + count
    store.delete(summary_key(sha256))
    store.delete(manifest_key(sha256))
    store.settle()
    return Deleted(objects, size)


def _others(
    store: Store, sha256: str, registered: Callable[[Sequence[str]], Iterable[str]]
) -> Iterator[str]:
    """Manifests of other versions."""
    names = (key.removeprefix(MANIFESTS) for key in store.keys(MANIFESTS))
    known = (name for name in names if _SHA256.fullmatch(name) and name != sha256)
    while asked := list(islice(known, MAX_ASKED_MANIFESTS)):
        yield from registered(asked)


def _entries(store: Store, sha256: str) -> Iterator[Entry]:
    """Those of a manifest that may be deleted meanwhile: then none."""
    with contextlib.suppress(NotInStore):
        yield from entries_of(store, sha256)
