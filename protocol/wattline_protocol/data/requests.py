"""Requests about data sets, and their answers. The bytes of a set never pass the scheduler."""

from typing import Annotated, Literal

import msgspec

from wattline_protocol.data.checks import DataCheck
from wattline_protocol.data.references import version_text
from wattline_protocol.data.site_data import Url
from wattline_protocol.ids import UnixTime
from wattline_protocol.wire.bounds import (
    Bytes,
    Count,
    Few,
    Line,
    Name,
    Seconds,
    Sentence,
    Serial,
    Word,
)

Sha256 = Annotated[str, msgspec.Meta(min_length=64, max_length=64, pattern=r"\A[0-9a-f]{64}\Z")]
"""In hexadecimal."""

MAX_ASKED_MANIFESTS = 1_000
"""Of one request."""
MAX_FILES = 1_000_000
FileCount = Annotated[int, msgspec.Meta(ge=1, le=MAX_FILES)]

Kind = Literal["dataset", "model"]
VersionState = Literal["candidate", "published", "removed"]
OriginKind = Literal["data", "run", "checkpoint", "commit", "parameters", "job", "service"]
"""The last two only use versions."""


class Origin(msgspec.Struct, frozen=True):
    """One thing that a version was made from."""

    kind: OriginKind
    name: Line
    """`raw@v1`; `17#2`, the attempt of a run; a step; a commit."""
    detail: Sentence = ""
    """What identifies it beyond its name: the digest of a version, the parameters."""


class SetChange(msgspec.Struct, frozen=True):
    """Properties of a data set; None = as before."""

    readers: Few[Name[str]] | None = None
    """Users that may read it, besides owner, reviewers and operators; empty = all."""
    reviewers: Few[Name[str]] | None = None
    """Users that approve its versions; a new version of a set that has any is a candidate."""
    retention_s: Seconds | None = None
    """0 = for ever."""
    contains: Few[Name[str]] | None = None
    """Kinds of data, such as `personal`."""
    secret: Name[str] | None = None
    """Secret with the keys of its store, of the user of the job that reads it."""


class PrepareData(msgspec.Struct, frozen=True, tag_field="t", tag="prepare_data"):
    """Where the bytes of the next version belong; nothing is changed."""

    name: Name[str]
    kind: Kind = "dataset"
    store: Url = ""
    """URL of the store of a new set; empty = that of the set, or of the site."""


class AddData(msgspec.Struct, frozen=True, tag_field="t", tag="add_data"):
    """Register a version whose objects and manifest are in its store. A repeat adds no other."""

    name: Name[str]
    kind: Kind
    store: Url
    as_of: Name[str]
    """Of the answer to PrepareData that preceded the look at the store's objects."""
    sha256: Sha256
    """Of the manifest."""
    files: FileCount
    bytes: Bytes
    stored_bytes: Bytes
    """What the store did not have before."""
    made_from: Few[Origin] = ()
    change: SetChange = SetChange()
    verdict: DataCheck | None = None
    """Of its columns, against the version before; None = not made."""


class ChangeData(msgspec.Struct, frozen=True, tag_field="t", tag="change_data"):
    """Properties of a set, without another version."""

    name: Name[str]
    change: SetChange


class ListData(msgspec.Struct, frozen=True, tag_field="t", tag="list_data"):
    """Data sets that the user may read, or all versions of one."""

    name: Name[str] = ""


class GetData(msgspec.Struct, frozen=True, tag_field="t", tag="get_data"):
    """One version."""

    reference: Name[str]


class ApproveData(msgspec.Struct, frozen=True, tag_field="t", tag="approve_data"):
    """Publish a candidate, and let an alias name the version from now on."""

    reference: Name[str]
    alias: Name[str]


class RemoveData(msgspec.Struct, frozen=True, tag_field="t", tag="remove_data"):
    """No job may read the version any more; its bytes may then be deleted from the store."""

    reference: Name[str]


class RebuildData(msgspec.Struct, frozen=True, tag_field="t", tag="rebuild_data"):
    """Submit the job that made a version again; its output is compared with the version."""

    reference: Name[str]
    token: Word[str]
    """As of a submission: the same one names the same job."""


class ReportDeletion(msgspec.Struct, frozen=True, tag_field="t", tag="report_deletion"):
    """Receipt of what was deleted for a removed version."""

    name: Name[str]
    number: Serial[int]
    objects: Count[int]
    bytes: Bytes


class GetUses(msgspec.Struct, frozen=True, tag_field="t", tag="get_uses"):
    """What was made from a run, a checkpoint or a version, as far as the user may see it."""

    origin_kind: OriginKind
    name: Line


class GetRegistered(msgspec.Struct, frozen=True, tag_field="t", tag="get_registered"):
    """Which of these manifests are of versions whose bytes stay in a store. The answer has
    only hashes that the client names."""

    manifests: Annotated[tuple[Sha256, ...], msgspec.Meta(max_length=MAX_ASKED_MANIFESTS)]


DataQuestion = PrepareData | ListData | GetData | GetUses | GetRegistered
"""They change nothing."""

DataRequest = (
    DataQuestion | AddData | ApproveData | ChangeData | RemoveData | RebuildData | ReportDeletion
)


class DataPlace(msgspec.Struct, frozen=True, tag_field="t", tag="data_place"):
    """A store, and what a client needs to reach it, without keys."""

    store: str
    as_of: str
    endpoint: str = ""
    region: str = ""
    checkpoint_root: str = ""
    """Directory of the site's checkpoints, below which each job has one; empty = there is none."""


class DataAdded(msgspec.Struct, frozen=True, tag_field="t", tag="data_added"):
    """The version is on record."""

    name: str
    number: int
    state: VersionState
    text: str
    is_new: bool = True
    """Otherwise the newest version has the same content, and is the one named here."""


class VersionView(msgspec.Struct, frozen=True):
    """One version of a set."""

    name: str
    number: int
    kind: Kind
    state: VersionState
    files: int
    bytes: int
    stored_bytes: int
    sha256: str
    created_unix_s: UnixTime
    created_by: str
    aliases: tuple[str, ...] = ()
    made_from: tuple[Origin, ...] = ()
    used_by: tuple[Origin, ...] = ()
    stale: tuple[tuple[str, str], ...] = ()
    """What it was made from and has a newer version, and that one; not in lists."""
    outdates: tuple[str, ...] = ()
    """Versions that were made from an older one of its set; not in lists."""
    is_made_by_job: bool = False
    """It can be rebuilt."""
    verdict: DataCheck | None = None
    approved_by: str = ""
    expires_unix_s: UnixTime | None = None
    """When its retention ends; None = never."""
    removed_by: str = ""
    removed_unix_s: UnixTime | None = None
    deleted_unix_s: UnixTime | None = None
    """When its bytes had left the store: the time of the receipt."""
    deleted_objects: int = 0
    deleted_bytes: int = 0

    @property
    def reference(self) -> str:
        """As users write it: `digits@v3`."""
        return version_text(self.name, self.number)


class DataSetView(msgspec.Struct, frozen=True):
    """A set; its newest version may be a candidate."""

    name: str
    kind: Kind
    owner: str
    store: str
    versions: int
    """Those that are not removed."""
    newest: int
    """0 = none."""
    bytes: int
    """Of the newest version."""
    stored_bytes: int
    """Of all versions that are not removed."""
    created_unix_s: UnixTime
    """Of the newest version."""
    aliases: dict[str, int] = {}
    readers: tuple[str, ...] = ()
    reviewers: tuple[str, ...] = ()
    retention_s: float = 0.0
    contains: tuple[str, ...] = ()
    secret: str = ""


class DataSets(msgspec.Struct, frozen=True, tag_field="t", tag="data_sets"):
    sets: tuple[DataSetView, ...]
    is_cut: bool = False


class DataVersions(msgspec.Struct, frozen=True, tag_field="t", tag="data_versions"):
    """Versions of a set, oldest first, with the place of their bytes."""

    about: DataSetView
    versions: tuple[VersionView, ...]
    place: DataPlace

    @property
    def version(self) -> VersionView:
        """The newest one: in an answer to GetData the only one."""
        return self.versions[-1]


class DataRemoval(msgspec.Struct, frozen=True, tag_field="t", tag="data_removal"):
    """A version is removed; its client deletes the bytes that no other one needs."""

    version: VersionView
    place: DataPlace
    keeps_bytes: bool
    """Another version has the same content: nothing is to be deleted."""
    text: str


class DataUses(msgspec.Struct, frozen=True, tag_field="t", tag="data_uses"):
    used_by: tuple[Origin, ...]


class Registered(msgspec.Struct, frozen=True, tag_field="t", tag="registered"):
    manifests: tuple[str, ...]


DataAnswer = DataPlace | DataUses | DataAdded | DataSets | DataVersions | DataRemoval | Registered
