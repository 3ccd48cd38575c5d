"""Versions of data sets that jobs read, as the registry has them."""

from typing import NamedTuple

from wattline_protocol.data.references import parse_reference, version_text
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.wire.agents.data_messages import TaskData
from wattline_scheduler.core.model.data.data_book import DataBook
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


def task_data(book: DataBook, spec: JobSpec) -> tuple[TaskData, ...]:
    """What its tasks find on their nodes."""
    found = reads_of(book, spec).versions.values()
    model = spec.service.model if spec.service is not None else ""
    return tuple(
        TaskData(one.name, one.number, one.sha256, one.reference == model) for one in found
    )
