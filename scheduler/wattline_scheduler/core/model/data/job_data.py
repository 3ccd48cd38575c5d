"""Versions of data sets that jobs read, as the registry has them."""

from typing import NamedTuple

import msgspec

from wattline_protocol.data.references import LATEST, parse_reference, version_text
from wattline_protocol.ids import UserName
from wattline_protocol.job.data_values import is_latest
from wattline_protocol.job.spec import JobSpec, Windows
from wattline_protocol.wire.agents.data_messages import TaskData
from wattline_scheduler.core.model.data.data_book import DataBook, may_read
from wattline_scheduler.data_record import DataVersionRecord


class Reads(NamedTuple):
    """The versions that a job reads, in the order of its file."""

    versions: dict[str, DataVersionRecord]
    """By their names: `digits@v3`."""
    gone: str
    """Why one of them cannot be read any more; empty = all can."""


def reads_of(book: DataBook, spec: JobSpec) -> Reads:
    """What an accepted job reads: its names have numbers."""
    versions: dict[str, DataVersionRecord] = {}
    for text in spec.data.datasets:
        found = book.find(parse_reference(text))
        if isinstance(found, str):
            return Reads({}, found)
        if found.state == "removed":
            return Reads({}, f"{text} was removed by {found.removed_by}")
        if spec.data.check and (why := _unchecked(found)):
            return Reads({}, f"{text} {why}")
        versions[text] = found
    return Reads(versions, "")


def _unchecked(version: DataVersionRecord) -> str:
    """Why a job with a strict check may not read a version; empty = it may."""
    verdict = version.verdict
    if version.approved_by or (verdict is not None and verdict.ok):
        return ""
    if verdict is None:
        return "was added without a check of its columns; approve it, if it is right"
    number = verdict.against
    against = f" against {version_text(version.name, number)}" if number else ""
    return f"breaks rules{against}: {verdict.text}"


def with_made(spec: JobSpec, made: str) -> JobSpec:
    """A job behind one that has made a version: it reads that one as the latest of its set."""
    latest = f"{made.partition('@')[0]}@{LATEST}"
    if latest not in spec.data.datasets:
        return spec
    names = tuple(made if text == latest else text for text in spec.data.datasets)
    return msgspec.structs.replace(spec, data=msgspec.structs.replace(spec.data, datasets=names))


def waits_for_latest(spec: JobSpec) -> bool:
    """Whether it reads the latest version of a set, which is not resolved yet."""
    return any(map(is_latest, spec.data.datasets))


def with_latest(book: DataBook, spec: JobSpec) -> JobSpec:
    """The same with numbers in place of what is the latest now; what has none stays."""
    names = tuple(_latest(book, text) if is_latest(text) else text for text in spec.data.datasets)
    return msgspec.structs.replace(spec, data=msgspec.structs.replace(spec.data, datasets=names))


def _latest(book: DataBook, text: str) -> str:
    found = book.find(parse_reference(text))
    return text if isinstance(found, str) else version_text(found.name, found.number)


def unreadable(book: DataBook, spec: JobSpec, user: UserName, *, is_operator: bool) -> str:
    """Why a user may not read what a job reads; empty = it may. A set that a job made did not exist
    when the other one was submitted."""
    for name in (text.partition("@")[0] for text in spec.data.datasets):
        record = book.sets.get(name)
        if record is None:
            return book.unknown(name, user, is_operator=is_operator)
        if not may_read(record, user, is_operator=is_operator):
            return f"{record.kind} {name} is not for {user}"
    return ""


def recipe_of(spec: JobSpec) -> JobSpec:
    """The job as it may be submitted again: without what held back this one."""
    return msgspec.structs.replace(
        spec, hold=False, after_ok=(), after_any=(), windows=Windows(), reservation=""
    )


def task_data(book: DataBook, spec: JobSpec) -> tuple[TaskData, ...]:
    """What its tasks find on their nodes."""
    found = reads_of(book, spec).versions.values()
    model = spec.service.model if spec.service is not None else ""
    return tuple(
        TaskData(one.name, one.number, one.sha256, one.reference == model) for one in found
    )
