"""Deletes from a store what a removed version had alone.

Objects of other manifests stay. The version's own manifest is deleted last: a deletion that was
interrupted is repeated from the beginning.
"""

import contextlib
from collections.abc import Callable, Iterator

import msgspec

from wattline_runtime.data.manifest import Entry, manifest_key, object_key, summary_key
from wattline_runtime.data.stores.interface import NotInStore, Store
from wattline_runtime.data.verify import entries_of

MANIFESTS = "manifests/"


class Deleted(msgspec.Struct, frozen=True):
    """A receipt."""

    objects: int
    bytes: int


def delete_version(store: Store, sha256: str, renew: Callable[[], None]) -> Deleted:
    """Deletes the objects that no other manifest in the store lists. `renew` is called before each:
    it raises once the version may no longer be deleted. Raises StoreError, ManifestError."""
    own = manifest_key(sha256)
    only = {bytes.fromhex(one.sha256): one.bytes for one in _entries(store, sha256)}
    for key in store.keys(MANIFESTS):
        if key != own and only:
            for entry in _entries(store, key.removeprefix(MANIFESTS)):
                only.pop(bytes.fromhex(entry.sha256), None)
    objects = size = 0
    for digest, count in only.items():
        renew()
        store.delete(object_key(digest.hex()))
        objects, size = objects + 1, size + count
    store.delete(summary_key(sha256))
    store.delete(own)
    store.settle()
    return Deleted(objects, size)


def _entries(store: Store, sha256: str) -> Iterator[Entry]:
    """Those of a manifest that may be deleted meanwhile: then none."""
    with contextlib.suppress(NotInStore):
        yield from entries_of(store, sha256)
