"""Answers to questions about data sets."""

from functools import partial
from itertools import islice

from wattline_protocol.data.requests import (
    DataAnswer,
    DataQuestion,
    DataSets,
    DataSetView,
    DataUses,
    DataVersions,
    GetData,
    GetRegistered,
    GetUses,
    ListData,
    Origin,
    PrepareData,
    Registered,
)
from wattline_protocol.ids import UnixTime
from wattline_protocol.wire.bounds import encodable
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.core.model.data.data_book import DataBook, may_read
from wattline_scheduler.core.model.data.version_views import version_view
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.data_sets.add_version import place_of, prepare
from wattline_scheduler.core.requests.data_sets.find_version import (
    find_version,
    is_readable,
    no_set,
    not_for_user,
)
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.data_record import DataSetRecord, DataVersionRecord

MAX_LISTED = 1_000
"""Versions of a set, the newest."""


def answer_data(state: State, asker: Asker, request: DataQuestion) -> DataAnswer | Denied:
    """The answer for the current state."""
    match request:
        case PrepareData():
            return prepare(state, asker, request)
        case ListData(name=""):
            return _sets(state, asker)
        case ListData(name=name):
            return _versions_of(state, asker, name)
        case GetData(reference=reference):
            found = find_version(state, asker, reference)
            return (
                found if isinstance(found, Denied) else _answer(state, asker, found[0], [found[1]])
            )
        case GetUses():
            return _uses(state, asker, request)
        case GetRegistered(manifests=manifests):
            return Registered(tuple(filter(state.data.undeleted.__contains__, manifests)))


def _uses(state: State, asker: Asker, request: GetUses) -> DataUses:
    made = state.data.made_into.get((request.origin_kind, request.name), {})
    names = (name for name in made if is_readable(state, asker, name))
    return DataUses(tuple(Origin("data", name) for name in islice(names, MAX_LISTED)))


def _sets(state: State, asker: Asker) -> DataSets:
    readable = (
        one
        for _, one in sorted(state.data.sets.items())
        if may_read(one, asker.user, is_operator=asker.is_operator)
    )
    return DataSets(tuple(_set_view(state.data, one) for one in readable))


def _versions_of(state: State, asker: Asker, name: str) -> DataVersions | Denied:
    record = state.data.sets.get(name)
    if record is None:
        return no_set(state, asker, name)
    found = list(state.data.versions[name].values())[-MAX_LISTED:]
    return not_for_user(record, asker) or _answer(state, asker, record, found, in_full=False)


def _answer(
    state: State,
    asker: Asker,
    record: DataSetRecord,
    found: list[DataVersionRecord],
    *,
    in_full: bool = True,
) -> DataVersions:
    may_read = partial(is_readable, state, asker)
    views = tuple(version_view(state, one, may_read, in_full=in_full) for one in found)
    return DataVersions(_set_view(state.data, record), views, place_of(state, record.store))


def _set_view(book: DataBook, record: DataSetRecord) -> DataSetView:
    live = book.live(record.name)
    newest = live[-1] if live else None
    return DataSetView(
        name=record.name,
        kind=record.kind,
        owner=record.owner,
        store=record.store,
        versions=len(live),
        newest=newest.number if newest else 0,
        bytes=newest.bytes if newest else 0,
        stored_bytes=encodable(sum(one.stored_bytes for one in live)),
        created_unix_s=newest.created_unix_s if newest else UnixTime(record.made_unix_s),
        aliases=record.aliases,
        readers=record.readers,
        reviewers=record.reviewers,
        retention_s=record.retention_s,
        contains=record.contains,
        secret=record.secret,
    )
