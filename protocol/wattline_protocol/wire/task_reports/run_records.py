"""Records of runs: what the program of an attempt reported, and the code and packages it ran with.

A node has both parts as compressed JSON, bounded. The scheduler stores and passes on the bytes
without decoding them: a task can forge all of it. The client that shows a record decodes it
(`report_in`, `inventory_in`).
"""

import zlib
from typing import Annotated, TypeVar

import msgspec

from wattline_protocol.ids import AttemptNo, JobId, TaskNo, TaskRef
from wattline_protocol.job.spec import JobKind
from wattline_protocol.wire.bounds import (
    MAX_WORD_CHARS,
    Bytes,
    Count,
    Few,
    Many,
    Number,
    Offset,
    OfGpus,
    Path,
    Sentence,
    Serial,
    Time,
    Word,
)
from wattline_protocol.wire.task_reports.checkpoints import SavedCheckpoint

T = TypeVar("T")

FOUND_AFTER_S: dict[JobKind, float] = {"training": 1.0, "batch": 10.0}
"""Run time after which the code and packages of an attempt are read: it takes a tenth of a second
of a processor, which a batch task of a second is not worth. No record is made of other kinds."""

MAX_PART_BYTES = 48 * 1024
"""Of each part of a record, compressed."""
MAX_JSON_BYTES = 2 * 1024 * 1024
"""Of each part, as JSON."""
MAX_CURVES = 64
MAX_POINTS = 128
MAX_PARAMETERS = 100
MAX_CHECKPOINTS = 32
MAX_PARAMETER_CHARS = 500
MAX_DIFF_CHARS = 256 * 1024

PartBytes = Annotated[bytes, msgspec.Meta(max_length=MAX_PART_BYTES)]

Parameter = bool | Offset | Number | Annotated[str, msgspec.Meta(max_length=MAX_PARAMETER_CHARS)]


def is_recorded(kind: JobKind, run_s: float, marks: int) -> bool:
    """Whether there is a record of an attempt: it ran for long enough, or its program reported."""
    after_s = FOUND_AFTER_S.get(kind)
    return after_s is not None and (run_s >= after_s or marks > 0)


# --- Content ------------------------------------------------------------------------------


class Point(msgspec.Struct, frozen=True, array_like=True):
    """One value of a metric."""

    step: Number
    """The metric `step` of the same report; without it the number of the value, from 1."""
    value: Number
    unix_s: Time[float]


class Curve(msgspec.Struct, frozen=True):
    """A metric over the steps: its first value, its last one, and every 2^k-th between them."""

    name: Word[str]
    count: Serial[int]
    """Values reported."""
    lowest: Number
    highest: Number
    points: Annotated[tuple[Point, ...], msgspec.Meta(min_length=1, max_length=MAX_POINTS + 1)]


class RunReport(msgspec.Struct, frozen=True):
    """What the program reported, and the GPUs it had."""

    parameters: Annotated[dict[Word[str], Parameter], msgspec.Meta(max_length=MAX_PARAMETERS)] = {}
    curves: Annotated[tuple[Curve, ...], msgspec.Meta(max_length=MAX_CURVES)] = ()
    dropped_parameters: Serial[int] = 0
    dropped_values: Serial[int] = 0
    """Values of metrics beyond `MAX_CURVES` names."""
    unread_bytes: Serial[int] = 0
    """Reported faster than the agent reads."""
    checkpoints: Annotated[
        tuple[SavedCheckpoint, ...], msgspec.Meta(max_length=MAX_CHECKPOINTS)
    ] = ()
    """The newest that it has published, the oldest of them first."""
    dropped_checkpoints: Serial[int] = 0
    """Older ones."""
    gpus: OfGpus[Word[str]] = ()
    """Models."""
    inventory_note: Sentence = ""
    """Why there is no inventory; empty: there is one, or it was not due."""
    read_to: Serial[int] = 0
    """Offset in the file of metrics up to which they are part of it."""


class Code(msgspec.Struct, frozen=True):
    """The git working tree that an attempt started in."""

    commit: Word[str]
    branch: Word[str] = ""
    diff: Annotated[str, msgspec.Meta(max_length=MAX_DIFF_CHARS)] = ""
    """Of tracked files, against the commit; its beginning where it was cut."""
    diff_bytes: Bytes = 0
    """Of the whole diff."""
    diff_sha256: Word[str] = ""
    """Of the whole diff; empty: it was too long to be read."""
    untracked: Few[Path] = ()
    untracked_count: Count[int] = 0


class Packages(msgspec.Struct, frozen=True):
    """Installed packages of the interpreter that runs the command."""

    interpreter: Path
    version: Word[str]
    sha256: Word[str]
    """Of the list, one package a line."""
    names: Many[Annotated[str, msgspec.Meta(max_length=2 * MAX_WORD_CHARS)]] = ()
    """As `pip freeze --all` prints them."""
    count: Count[int] = 0


class Inventory(msgspec.Struct, frozen=True):
    """What was found beside the running command."""

    code: Code | None = None
    packages: Packages | None = None
    notes: Few[Sentence] = ()
    """What is missing, and why."""


class BadRecord(ValueError):
    """A part of a record is damaged, or out of bounds."""


def report_in(part: bytes) -> RunReport:
    """Raises BadRecord."""
    return _decoded(part, RunReport)


def inventory_in(part: bytes) -> Inventory:
    """Raises BadRecord."""
    return _decoded(part, Inventory)


def packed(value: RunReport | Inventory) -> bytes:
    """Compressed JSON."""
    return zlib.compress(msgspec.json.encode(value))


def _decoded(part: bytes, form: type[T]) -> T:
    inflate = zlib.decompressobj()
    try:
        text = inflate.decompress(part, MAX_JSON_BYTES)
        if not inflate.eof:
            raise BadRecord("it is not complete, or too large")
        return msgspec.json.decode(text, type=form)
    except msgspec.ValidationError as error:
        where = str(error).rpartition(" - at ")[2]
        raise BadRecord(f"a value is out of bounds at {where}") from error
    except (zlib.error, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRecord(str(error)) from error


# --- Messages -----------------------------------------------------------------------------


class ReadRecord(msgspec.Struct, frozen=True, tag_field="t", tag="read_record"):
    """Scheduler to agent: read the record of an attempt. Not resent."""

    request: Serial[int]
    ref: TaskRef


class RecordRead(msgspec.Struct, frozen=True, tag_field="t", tag="record_read"):
    """Answer to ReadRecord: both parts as they are now; an empty one does not exist."""

    request: Serial[int]
    report: PartBytes
    inventory: PartBytes
    error: Sentence = ""


class FetchRecord(msgspec.Struct, frozen=True, tag_field="t", tag="fetch_record"):
    """Client to scheduler: the record of the gang of a task. attempt 0 = the newest."""

    job: Serial[JobId]
    task: Count[TaskNo] = TaskNo(0)
    attempt: Serial[AttemptNo] = AttemptNo(0)


class RunRecord(msgspec.Struct, frozen=True, tag_field="t", tag="run_record"):
    """Answer to FetchRecord."""

    ref: TaskRef
    """The first task of the gang."""
    report: PartBytes
    inventory: PartBytes
    note: str = ""
    """Why both parts are empty."""
