"""Between the fetch process and the child that writes into a store for it: lines of JSON.

The child works as the account that may write there. An answer is lines of `Beat` and one of another
kind; it is not trusted, and bounded.
"""

from typing import Annotated

import msgspec

from wattline_protocol.data.checks import DataCheck
from wattline_protocol.data.requests import FileCount, Origin, Sha256
from wattline_protocol.wire.bounds import Bytes, Count, Sentence, Serial
from wattline_protocol.wire.task_reports.checkpoints import StoredCheckpoint
from wattline_runtime.data.fetch.frames import Why

MAX_ANSWER_BYTES = 64 * 1024
BEAT_S = 2.0
"""Interval of signs of life: a child that is stopped gives none."""

LocalPath = Annotated[str, msgspec.Meta(max_length=4_096, pattern=r"\A/")]


class PutFolder(msgspec.Struct, frozen=True, tag_field="t", tag="put_folder"):
    """Publish a folder as a version: its objects, then its manifest. Rules and refusals are those
    of `wattline data add`."""

    folder: LocalPath
    prefix: str = ""
    """Of all keys in the store."""
    rate_bytes_s: Bytes = 0
    """0 = no limit."""


class CopyCheckpoint(msgspec.Struct, frozen=True, tag_field="t", tag="copy_checkpoint"):
    """Copy the newest checkpoint of a task into the part of its job (`data.checkpoints`)."""

    home: LocalPath
    """Directory of its checkpoints; there may be none yet."""
    prefix: str
    attempt: Serial[int]
    recorded: StoredCheckpoint | None = None
    rate_bytes_s: Bytes = 0


class ReadFolder(msgspec.Struct, frozen=True, tag_field="t", tag="read_folder"):
    """Hash a folder, which may then be published without being read again."""

    folder: LocalPath
    attempt: LocalPath
    """Directory of its attempt, beside it: if that is missing too, the file system is away."""
    equals: Sha256 | None = None
    """Manifest in the store that it is compared with."""
    workdir: str = ""
    """Where its code is."""
    is_checked: bool = False
    """Its columns are compared with those of the version before."""
    before: Serial[int] = 0
    """Number of that one; 0 = it is the first."""
    before_sha256: Sha256 | None = None


class Beat(msgspec.Struct, frozen=True, tag_field="t", tag="beat"):
    """The child works. Of a folder that is published: what is in the store already."""

    done_bytes: Bytes = 0
    total_bytes: Bytes = 0


class FolderPut(msgspec.Struct, frozen=True, tag_field="t", tag="folder_put"):
    """The version is in the store, and durable."""

    sha256: Sha256
    files: FileCount
    bytes: Bytes
    stored_bytes: Bytes
    """What the store did not have before."""


class CheckpointCopied(msgspec.Struct, frozen=True, tag_field="t", tag="checkpoint_copied"):
    """What the store has of them."""

    newest: StoredCheckpoint | None
    behind: Count[int]
    left: Sentence = ""
    """Why older copies could not be removed."""


class FolderRead(msgspec.Struct, frozen=True, tag_field="t", tag="folder_read"):
    """The folder can be a version."""

    difference: Sentence = ""
    """From the version that it was compared with, in words."""
    code: Origin | None = None
    """The commit of the directory with its code."""
    verdict: DataCheck | None = None
    """Of its columns; None = not made."""


class Unwritten(msgspec.Struct, frozen=True, tag_field="t", tag="unwritten"):
    """Why nothing was published. The text never has a secret in it."""

    why: Why
    text: str


Wish = PutFolder | ReadFolder | CopyCheckpoint
Outcome = FolderPut | FolderRead | CheckpointCopied | Unwritten
