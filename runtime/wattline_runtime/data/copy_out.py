"""Copies out of a store into a folder: plain names, as another program left them, or a version."""

import hashlib
from pathlib import Path

from wattline_protocol.data.requests import MAX_FILES
from wattline_runtime.data.manifest import ManifestError, check_path, object_key
from wattline_runtime.data.stores.interface import Store
from wattline_runtime.data.tree import TreeError, batches, in_threads
from wattline_runtime.data.verify import entries_of


def copy_out(store: Store, folder: Path) -> None:
    """Raises TreeError for a name that no data set may hold, or for none; StoreError, OSError."""
    count = 0

    def copy(keys: list[str]) -> int:
        for key in keys:
            _copy_one(store, key, folder)
        return len(keys)

    for copied in in_threads(copy, batches(store.keys(""), len)):
        count += copied
        if count > MAX_FILES:
            raise TreeError(f"{store.url}: a version has at most {MAX_FILES:,} files")
    if not count:
        raise TreeError(f"{store.url} holds no file")


def copy_version(store: Store, sha256: str, folder: Path) -> None:
    """The files of a version, each with the hash that it was stored by. Raises ManifestError,
    StoreError, OSError."""
    for entry in entries_of(store, sha256):
        to, digest = folder / check_path(entry.path), hashlib.sha256()
        to.parent.mkdir(parents=True, exist_ok=True)
        with to.open("xb") as file:
            for chunk in store.read(object_key(entry.sha256)):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != entry.sha256:
            raise ManifestError(f"{store.url}: {entry.path} has another SHA-256")


def _copy_one(store: Store, key: str, folder: Path) -> None:
    try:
        to = folder / check_path(key)
        to.parent.mkdir(parents=True, exist_ok=True)
        with to.open("xb") as file:
            file.writelines(store.read(key))
    except ManifestError as error:
        raise TreeError(str(error)) from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise TreeError(f"{key!a} is a file and a folder in {store.url}") from error
