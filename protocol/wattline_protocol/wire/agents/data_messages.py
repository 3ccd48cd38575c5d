"""Versions of data sets on nodes: what a node is to hold, and what it has.

The scheduler sends the whole list, the agent reports the whole state: either may be lost or come
twice. Bytes never pass the scheduler; a node fetches them from the store of the data set.
"""

from typing import Annotated, Literal

import msgspec

from wattline_protocol.data.checks import DataCheck
from wattline_protocol.data.references import CHECKPOINTS_OF, version_text
from wattline_protocol.data.requests import DataPlace, FileCount, Origin, Sha256
from wattline_protocol.data.site_data import Url
from wattline_protocol.ids import TaskRef, UnixTime
from wattline_protocol.wire.agents.current import Current, Numbered
from wattline_protocol.wire.bounds import Bytes, Count, Name, Path, Sentence, Serial, Time
from wattline_protocol.wire.task_reports.checkpoints import StoredCheckpoint

MAX_HELD = 256
"""Versions that one node is to hold, or reports."""
MAX_IN_USE = 4 * MAX_HELD
MAX_KEYS_BYTES = 4_096
"""Of a secret that opens a store. A node holds versions of as many stores as it likes, and all of
their secrets go to its fetch process at once."""
MAX_OUTPUTS = 256
"""Of ended attempts that a node has: as many as it has attempts."""
MAX_KEPT_OUTPUTS, MAX_KEPT_OUTPUTS_OF_USER = 128, 32
"""Of attempts on one node, until they are published: more would leave no place for other attempts
while a store is away."""
MAX_LINE_BYTES = 8 * 1024 * 1024
"""Between the agent and its fetch process: any order or report is shorter."""


class InStore(msgspec.Struct, frozen=True, kw_only=True):
    """What a node reads from a store, or writes there, and with which rights."""

    store: Url
    endpoint: Url = ""
    """Of an S3-compatible server; empty: AWS."""
    region: Url = ""
    account: Name[str] = ""
    """Account of the host that opens the store; empty = the keeper's own."""
    user: Name[str] = ""
    """User of the site whose secret opens the store."""
    secret: Name[str] = ""
    """Entry of that user; empty = none is needed."""

    @property
    def opened_by(self) -> str:
        """The secret that opens its store, as USER/ENTRY; empty = none is needed."""
        return f"{self.user}/{self.secret}" if self.secret else ""

    @property
    def place(self) -> DataPlace:
        """The store, to open it."""
        return DataPlace(self.store, "", self.endpoint, self.region)


class DataToHold(InStore, frozen=True):
    """A version, and where it lies."""

    manifest_sha256: Sha256
    name: Name[str]
    """Of the data set."""
    number: Serial[int]
    bytes: Bytes
    """Sum over its files, as registered."""
    asked: Serial[int] = 0
    """Number of the newest job that reads it: a failure that was final is tried again for each."""
    listing: Serial[int] = 0
    """Another one each time that it comes onto the list of a node, also by another scheduler."""

    @property
    def reference(self) -> str:
        """As users write it: `digits@v3`."""
        return version_text(self.name, self.number)

    @property
    def is_checkpoint(self) -> bool:
        """Whether it is a stored checkpoint of a job, not a data set."""
        return self.name.startswith(CHECKPOINTS_OF)


class OutputToPublish(InStore, frozen=True):
    """The output of an attempt that has succeeded, and where it belongs."""

    ref: TaskRef
    as_of: Name[str] = ""
    """Of the registry: objects are looked at again for another one. Empty: some are being deleted
    from the store, nothing is put there now."""
    equals: Sha256 | None = None
    """Manifest that it is compared with, in place of being put into the store."""
    workdir: Path = ""
    """Where its code is."""
    is_checked: bool = False
    """Its columns are compared with those of the version before."""
    before: Serial[int] = 0
    """Number of that one; 0 = it is the first."""
    before_sha256: Sha256 | None = None


class TaskData(msgspec.Struct, frozen=True):
    """A version of a data set that a task reads."""

    name: Name[str]
    number: Serial[int]
    manifest_sha256: Sha256
    is_model: bool = False
    """It is the model that the task serves."""
    is_checkpoint: bool = False
    """It is a copy of the checkpoint from which the task resumes."""

    @property
    def reference(self) -> str:
        """As users write it: `digits@v3`."""
        return version_text(self.name, self.number)


DataState = Literal["fetching", "waiting", "ready", "failed"]
"""waiting: the store is away or the cache full, it is tried again; failed: it is not, until the
version is taken from the list."""


class DataHeld(msgspec.Struct, frozen=True):
    """A version on a node."""

    manifest_sha256: Sha256
    state: DataState
    done_bytes: Bytes = 0
    total_bytes: Bytes = 0
    """Of different contents; 0 = not known yet."""
    detail: Sentence = ""
    """Why it waits or has failed."""
    asked: Serial[int] = 0
    listing: Serial[int] = 0
    """As in the list; 0 = it is not on the list. A copy is examined for each listing."""
    is_full: bool = False
    """It waits for room in the cache, not for its store."""


OutputState = Literal["waiting", "publishing", "stored", "equal", "failed", "gone"]
"""stored: its manifest is in the store; equal: it is the version that it was compared with; failed:
it can be no version, or is another one; gone: the node does not have it."""


class StoredOutput(msgspec.Struct, frozen=True):
    """The content of an output that is in its store."""

    as_of: Name[str]
    """With which its objects were looked at."""
    sha256: Sha256
    files: FileCount
    bytes: Bytes
    stored_bytes: Bytes
    verdict: DataCheck | None = None
    code: Origin | None = None
    """The commit of the job's directory."""


class OutputNow(msgspec.Struct, frozen=True):
    """How far the output of an attempt is."""

    ref: TaskRef
    state: OutputState
    done_bytes: Bytes = 0
    total_bytes: Bytes = 0
    detail: Sentence = ""
    """Why it waits, or has failed."""
    stored: StoredOutput | None = None


HeldVersions = Annotated[tuple[DataHeld, ...], msgspec.Meta(max_length=MAX_HELD)]
Manifests = Annotated[tuple[Sha256, ...], msgspec.Meta(max_length=MAX_HELD)]
VersionsToHold = Annotated[tuple[DataToHold, ...], msgspec.Meta(max_length=MAX_HELD)]
OutputsToPublish = Annotated[tuple[OutputToPublish, ...], msgspec.Meta(max_length=MAX_OUTPUTS)]
OutputsNow = Annotated[tuple[OutputNow, ...], msgspec.Meta(max_length=MAX_OUTPUTS)]


class CheckpointsToStore(InStore, frozen=True):
    """Checkpoints of a job that the node copies into the store of the site, and until when."""

    job: Serial[int]
    attempt: Serial[int]
    """The newest that ran there: its part of the store takes the copies."""
    prefix: Url
    """Of the job, in the store."""
    root: Path = ""
    """Directory of the checkpoints of all jobs; empty = the node's own."""
    saved_unix_s: Time[UnixTime] = UnixTime(0.0)
    """When the newest that its task has reported was saved."""
    is_last: bool = False
    """No attempt lives there: what is there now is all that there will be."""
    recorded: StoredCheckpoint | None = None
    """The newest copy on record."""


class CheckpointsStored(msgspec.Struct, frozen=True):
    """What the store has of them."""

    job: Serial[int]
    attempt: Serial[int]
    newest: StoredCheckpoint | None = None
    behind: Count[int] = 0
    """Checkpoints of the node that are newer."""
    detail: Sentence = ""
    """Why the newest was not copied; it is tried again."""
    saved_unix_s: Time[UnixTime] = UnixTime(0.0)
    is_last: bool = False
    """Of the order that was carried out last: what is newer than that was not looked for."""


ToStore = Annotated[tuple[CheckpointsToStore, ...], msgspec.Meta(max_length=MAX_HELD)]
StoredThere = Annotated[tuple[CheckpointsStored, ...], msgspec.Meta(max_length=MAX_HELD)]


class HoldData(Numbered, frozen=True, tag="hold_data"):
    """Scheduler to agent: the whole list of what the node is to hold, the most urgent first."""

    versions: VersionsToHold
    drop: Manifests = ()
    """In its cache, and of no version any more: to be removed."""
    to_store: ToStore = ()
    outputs: OutputsToPublish = ()


class DataReport(Current, frozen=True, tag="data_report"):
    """Agent to scheduler, on change and now and then: the whole state of the node's cache."""

    held: HeldVersions
    limit_bytes: Bytes
    used_bytes: Bytes
    error: Sentence = ""
    """Why there is no usable cache."""
    stored: StoredThere = ()
    outputs: OutputsNow = ()


# --- Between the agent and its fetch process, as lines of JSON -----------------------------


class HoldOrder(msgspec.Struct, frozen=True):
    """Agent to fetch process: the whole list."""

    versions: VersionsToHold
    """The most urgent first."""
    in_use: Annotated[tuple[Sha256, ...], msgspec.Meta(max_length=MAX_IN_USE)] = ()
    """Versions of tasks that live: they stay, on the list or not."""
    drop: Manifests = ()
    """To be removed, once nothing uses them."""
    to_store: ToStore = ()
    outputs: OutputsToPublish = ()


class FetchOrder(msgspec.Struct, frozen=True):
    """The same with what opens the stores. It stays on the node, and is in no log."""

    hold: HoldOrder
    secrets: dict[str, bytes] = {}
    """By USER/ENTRY: lines of NAME=VALUE. Entries that the node does not have, and longer ones than
    `MAX_KEYS_BYTES`, are not there."""
    tasks_dir: str = ""
    """Directory of the node that has the outputs of attempts."""


class CacheReport(msgspec.Struct, frozen=True):
    """Fetch process to agent: the whole state of the cache."""

    held: HeldVersions
    """Those on the list first, then the others by their last use."""
    limit_bytes: Bytes
    used_bytes: Bytes
    error: Sentence = ""
    """Why there is no usable cache."""
    stored: StoredThere = ()
    outputs: OutputsNow = ()
