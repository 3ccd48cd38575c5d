"""What is compared: versions in stores, and folders or files of this machine."""

from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple, Protocol

from wattline import exits
from wattline.client import Client
from wattline.data.stores import store_of
from wattline.failures import ActFailed
from wattline_runtime.data.add import NewVersion
from wattline_runtime.data.columns.formats import FORMATS, has_columns
from wattline_runtime.data.columns.reader_process import FileToRead, read_summary
from wattline_runtime.data.columns.rules import MAX_RULES_BYTES, RULES_FILE, Rules, parse_rules
from wattline_runtime.data.columns.summary import Summary
from wattline_runtime.data.stores.interface import Store
from wattline_runtime.data.summaries import stored_rules, stored_summary
from wattline_runtime.data.tree import Files
from wattline_runtime.data.verify import entries_of


class Compared(Protocol):
    """One side of a comparison. Methods raise ActFailed, StoreError, TreeError, ManifestError."""

    @property
    def name(self) -> str:
        """As the user wrote it."""

    def summary(self) -> Summary:
        """Of its columns."""

    def hashes(self) -> dict[str, str]:
        """SHA-256 by path."""

    def rules(self) -> Rules:
        """Those that travel with it, or the defaults. Raises DocumentError."""


class StoredVersion(NamedTuple):
    """A version on record, in its store."""

    name: str
    store: Store
    sha256: str

    def summary(self) -> Summary:
        """As it was stored beside the manifest; otherwise its objects are read."""
        return checkable(self.name, stored_summary(self.store, self.sha256))

    def hashes(self) -> dict[str, str]:
        """Of its manifest."""
        return {entry.path: entry.sha256 for entry in entries_of(self.store, self.sha256)}

    def rules(self) -> Rules:
        """Of its file `data-checks.toml`."""
        return stored_rules(self.store, self.sha256)


class LocalTree(NamedTuple):
    """A folder or a file of this machine."""

    name: str
    root: Path

    def summary(self) -> Summary:
        """Read now."""
        return checkable(self.name, summary_of(self.root))

    def hashes(self) -> dict[str, str]:
        """Read now."""
        with NewVersion(self.root) as version:
            return {entry.path: entry.sha256 for entry in version.entries()}

    def rules(self) -> Rules:
        """Of its file `data-checks.toml`."""
        path = self.root / RULES_FILE
        return read_rules(path) if path.is_file() else Rules()


def summary_of(root: Path) -> Summary:
    """Of a folder or a file. Raises TreeError."""
    is_file = root.is_file()
    # Two files are compared whatever their names are.
    return read_summary(
        FileToRead(f"data{''.join(root.suffixes)}" if is_file else found.path, found.at)
        for found in Files(root)
        if has_columns(found.path)
    )


def checkable(name: str, summary: Summary) -> Summary:
    """The summary itself. Raises ActFailed where there is nothing in it."""
    if summary.tables or summary.unreadable:
        return summary
    raise ActFailed(f"{name} has nothing to check: no file ends with {', '.join(FORMATS)}")


def compared(texts: tuple[str, ...], bundle: str | None) -> list[Compared]:
    """What is at each path, or the version of each reference. Raises ActFailed, StoreError, and
    what the client raises."""
    is_remote = any(map(_is_version, texts))
    with Client(bundle) if is_remote else nullcontext() as client:
        return [
            stored(client, text) if client is not None and _is_version(text) else _local(text)
            for text in texts
        ]


def stored(client: Client, reference: str) -> StoredVersion:
    """A version on record. Raises NotFound, StoreError."""
    found = client.data_version(reference)
    version = found.version
    if version.state == "removed":
        text = f"{version.reference} was removed by {version.removed_by}"
        raise ActFailed(text, exits.NOT_FOUND)
    return StoredVersion(version.reference, store_of(found.place), version.sha256)


def _is_version(text: str) -> bool:
    """`digits@v3`, where no file has this name."""
    return "@" in text and "/" not in text and not Path(text).exists()


def _local(text: str) -> LocalTree:
    root = Path(text)
    if not root.exists():
        hint = "write NAME@v3 for a version of a data set"
        raise ActFailed(f"{text}: no such folder or file; {hint}", exits.NOT_FOUND)
    return LocalTree(text, root)


def read_rules(path: Path) -> Rules:
    """Raises ActFailed, or DocumentError with the lines that are wrong."""
    try:
        if path.stat().st_size > MAX_RULES_BYTES:
            raise ActFailed(f"{path} is longer than {MAX_RULES_BYTES >> 20} MiB", exits.USAGE)
        return parse_rules(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise ActFailed(f"{path} is not UTF-8", exits.USAGE) from error
    except OSError as error:
        raise ActFailed(f"{path}: {error.strerror}", exits.NOT_FOUND) from error
