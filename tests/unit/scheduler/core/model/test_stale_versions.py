"""Stale versions of large registries: what one answer looks at is bounded."""

from collections.abc import Iterable

import pytest

from wattline_protocol.data.references import Reference, version_text
from wattline_protocol.data.requests import Origin, VersionState
from wattline_protocol.ids import UnixTime, UserName
from wattline_scheduler.core.model.data.data_book import DataBook
from wattline_scheduler.core.model.data.stale_versions import MAX_WALKED, made_from_older
from wattline_scheduler.data_record import DataSetRecord, DataVersionRecord

ADA = UserName("ada")


def put(
    book: DataBook,
    name: str,
    number: int,
    made_from: Iterable[str] = (),
    state: VersionState = "published",
) -> DataVersionRecord:
    if name not in book.sets:
        book.put_set(DataSetRecord(name, "dataset", ADA, "/srv/data", UnixTime(0.0)))
    record = DataVersionRecord(
        name=name,
        number=number,
        sha256=f"{number:064x}",
        files=1,
        bytes=1,
        stored_bytes=1,
        created_unix_s=UnixTime(0.0),
        created_by=ADA,
        state=state,
        made_from=tuple(Origin("data", one) for one in made_from),
    )
    book.put_version(record)
    return record


def test_one_answer_looks_at_so_many_versions_however_many_a_set_has() -> None:
    book = DataBook()
    raws = [put(book, "raw", number).reference for number in range(1, 2 * MAX_WALKED)]
    hubs = [put(book, f"hub{at}", 1, raws[at::10]).reference for at in range(10)]
    put(book, "chain", 1, hubs)
    for number in range(2, MAX_WALKED):
        put(book, "chain", number, [version_text("chain", number - 1)])
    looked_at: list[str] = []

    def may_read(name: str) -> bool:
        looked_at.append(name)
        return True

    latest = put(book, "raw", 2 * MAX_WALKED)
    assert set(hubs) <= set(made_from_older(book, latest, may_read))
    assert len(looked_at) <= MAX_WALKED


def test_what_was_made_from_any_older_version_is_outdated() -> None:
    book = DataBook()
    raws = [put(book, "raw", number).reference for number in range(1, 2 * MAX_WALKED)]
    put(book, "old", 1, raws[:1])
    put(book, "new", 1, raws[-1:])
    latest = put(book, "raw", 2 * MAX_WALKED)
    assert made_from_older(book, latest, lambda _: True) == ("new@v1", "old@v1")


@pytest.mark.parametrize("state", ["candidate", "removed"])
def test_the_latest_version_is_the_highest_one_that_is_published(state: VersionState) -> None:
    book = DataBook()
    first, second = put(book, "raw", 1), put(book, "raw", 2)
    assert book.find(Reference("raw")) is second
    put(book, "raw", 3, state=state)
    assert book.find(Reference("raw")) is second
    put(book, "raw", 2, state="removed")
    assert book.find(Reference("raw")) is first
    third = put(book, "raw", 3)
    assert book.find(Reference("raw")) is third
    put(book, "raw", 1, state="removed")
    put(book, "raw", 3, state="removed")
    assert book.find(Reference("raw")) == "raw has no version that is published"
