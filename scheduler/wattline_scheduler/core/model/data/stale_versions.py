"""Stale versions: those that were made from what has a newer version by now. Pure."""

from collections.abc import Callable, Iterator

from wattline_protocol.data.references import Reference, parse_reference
from wattline_scheduler.core.model.data.data_book import DataBook
from wattline_scheduler.data_record import DataVersionRecord

MAX_WALKED = 1_000
"""Versions looked at for one answer."""
MAX_NAMED = 20

MayRead = Callable[[str], bool]
"""Whether a user may read a version, by its name."""


def inputs_with_newer(
    book: DataBook, version: DataVersionRecord, may_read: MayRead
) -> tuple[tuple[str, str], ...]:
    """Of all that a version was made from, over any number of steps: what has a newer version of
    other content, and that one."""
    found: dict[str, str] = {}
    for name in _walk(version.reference, lambda name: _sources(book, name)):
        newest = _newest(book, name)
        if name != version.reference and newest is not None and may_read(name):
            found[name] = newest.reference
    return tuple(found.items())[:MAX_NAMED]


def made_from_older(
    book: DataBook, version: DataVersionRecord, may_read: MayRead
) -> tuple[str, ...]:
    """Newest versions of other sets that were made from an older version of this one's set, over
    any number of steps. None, unless it is the newest itself."""
    if _latest(book, version.name) is not version:
        return ()
    older = [one for one in book.live(version.name) if _newest(book, one.reference) is not None]
    found: dict[str, None] = {}
    for start in older:
        for name in _walk(
            start.reference, lambda name: iter(book.made_into.get(("data", name), {}))
        ):
            of_set = parse_reference(name).name
            newest = _latest(book, of_set)
            is_newest = newest is not None and newest.reference == name
            if of_set != version.name and is_newest and may_read(name):
                found[name] = None
    return tuple(found)[:MAX_NAMED]


def _walk(start: str, following: Callable[[str], Iterator[str]]) -> Iterator[str]:
    seen, waiting = {start}, [start]
    while waiting and len(seen) <= MAX_WALKED:
        name = waiting.pop()
        yield name
        for one in following(name):
            if one not in seen:
                seen.add(one)
                waiting.append(one)


def _sources(book: DataBook, name: str) -> Iterator[str]:
    found = book.find(parse_reference(name))
    if not isinstance(found, str):
        yield from (one.name for one in found.made_from if one.kind == "data")


def _latest(book: DataBook, name: str) -> DataVersionRecord | None:
    found = book.find(Reference(name))
    return None if isinstance(found, str) else found


def _newest(book: DataBook, name: str) -> DataVersionRecord | None:
    """The latest version of its set, if it is a newer one of other content."""
    version = book.find(parse_reference(name))
    if isinstance(version, str):
        return None
    latest = _latest(book, version.name)
    is_newer = latest is not None and latest.number > version.number
    return latest if is_newer and latest is not None and latest.sha256 != version.sha256 else None
