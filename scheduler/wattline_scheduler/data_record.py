"""The durable form of data sets and their versions."""

from typing import ClassVar

import msgspec

from wattline_protocol.data.checks import DataCheck
from wattline_protocol.data.references import version_text
from wattline_protocol.data.requests import Kind, Origin, VersionState
from wattline_protocol.ids import UnixTime, UserName
from wattline_protocol.job.spec import JobSpec


class DataSetRecord(msgspec.Struct, frozen=True):
    """A data set or a model. It stays when its versions are removed: no number is used twice."""

    key: ClassVar[tuple[str, ...]] = ("name",)
    name: str
    kind: Kind
    owner: UserName
    store: str
    """URL."""
    made_unix_s: UnixTime
    readers: tuple[str, ...] = ()
    """Besides owner, reviewers and operators; empty = all."""
    reviewers: tuple[str, ...] = ()
    retention_s: float = 0.0
    """0 = for ever."""
    contains: tuple[str, ...] = ()
    secret: str = ""
    aliases: dict[str, int] = {}
    """Numbers of approved versions."""


class DataVersionRecord(msgspec.Struct, frozen=True):
    """One version of a data set. Removed ones stay on record, for lineage and receipts."""

    key: ClassVar[tuple[str, ...]] = ("name", "number")
    name: str
    number: int
    sha256: str
    """Of the manifest."""
    files: int
    bytes: int
    stored_bytes: int
    created_unix_s: UnixTime
    created_by: UserName
    state: VersionState
    made_from: tuple[Origin, ...] = ()
    verdict: DataCheck | None = None
    """Of its columns, as its client made it; None = not made."""
    recipe: JobSpec | None = None
    """The job that made it, to be submitted again; None = none did. For its owner alone."""
    approved_by: str = ""
    removed_by: str = ""
    removed_unix_s: UnixTime | None = None
    deleted_unix_s: UnixTime | None = None
    """When its bytes had left the store; None: they are there, or are being deleted."""
    deleted_objects: int = 0
    deleted_bytes: int = 0

    @property
    def reference(self) -> str:
        """As users write it: `digits@v3`."""
        return version_text(self.name, self.number)


DataRecord = DataSetRecord | DataVersionRecord
