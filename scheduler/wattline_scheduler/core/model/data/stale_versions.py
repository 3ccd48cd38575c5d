"""Stale versions: those that were made from what has a newer version by now. Pure."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from wattline_protocol.data.references import parse_reference
from wattline_scheduler.core.model.data.data_book import DataBook
from wattline_scheduler.data_record import DataVersionRecord

MAX_WALKED = 1_000
"""Versions looked at for one answer, the nearest ones."""
MAX_NAMED = 20

MayRead = Callable[[str], bool]
"""Whether a user may read a version, by its name."""


def inputs_with_newer(
    book: DataBook, version: DataVersionRecord, may_read: MayRead
) -> tuple[tuple[str, str], ...]:
    """Of all that a version was made from, over any number of steps: what has a newer version of
    other content, and that one."""
    found: dict[str, str] = {}
    sources = _walk([version.reference], lambda name: _sources(book, name))
    for name in islice(sources, MAX_WALKED):
        newest = _newest(book, name)
        if newest is not None and may_read(name):
            found[name] = newest.reference
    return tuple(found.items())[:MAX_NAMED]


def made_from_older(
    book: DataBook, version: DataVersionRecord, may_read: MayRead
) -> tuple[str, ...]:
    """Newest versions of other sets that were made from an older version of this one's set, over
    any number of steps. None, unless it is the newest itself."""
    if book.latest.get(version.name) is not version:
        return ()
    older = [one.reference for one in book.live(version.name) if _is_older(one, version)]
    found: dict[str, None] = {}
    made = _walk(reversed(older), lambda name: book.made_into.get(("data", name), ()))
    for name in islice(made, MAX_WALKED):
        of_set = parse_reference(name).name
        newest = book.latest.get(of_set)
        is_newest = newest is not None and newest.reference == name
        if of_set != version.name and is_newest and may_read(name):
            found[name] = None
    return tuple(found)[:MAX_NAMED]


def _is_older(version: DataVersionRecord, latest: DataVersionRecord) -> bool:
    return version.number < latest.number and version.sha256 != latest.sha256


def _walk(starts: Iterable[str], following: Callable[[str], Iterable[str]]) -> Iterator[str]:
    """All that follows from the starts, over any number of steps, the nearest first."""
    waiting = deque(starts)
    seen = set(waiting)
    while waiting:
        for name in following(waiting.popleft()):
            if name not in seen:
                seen.add(name)
                waiting.append(name)
                yield name


def _sources(book: DataBook, name: str) -> Iterator[str]:
    found = book.find(parse_reference(name))
    if not isinstance(found, str):
        yield from (one.name for one in found.made_from if one.kind == "data")


def _newest(book: DataBook, name: str) -> DataVersionRecord | None:
    """The latest version of its set, if it is a newer one of other content."""
    version = book.find(parse_reference(name))
    if isinstance(version, str):
        return None
    latest = book.latest.get(version.name)
    return latest if latest is not None and _is_older(version, latest) else None
