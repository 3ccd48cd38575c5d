"""Registers versions of data sets whose bytes are in their store."""

from wattline_protocol.data.checks import MAX_FINDING_CHARS
from wattline_protocol.data.references import version_text
from wattline_protocol.data.requests import (
    AddData,
    DataAdded,
    DataPlace,
    Kind,
    Origin,
    PrepareData,
)
from wattline_protocol.data.site_data import why_not_allowed
from wattline_protocol.data.store_url import parse_store_url
from wattline_protocol.ids import Now
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.text.names import check_name
from wattline_protocol.text.wording import about_size, counted, listed
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.core.model.data.data_book import chars_of
from wattline_scheduler.core.model.events import ClientRequest
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.data_sets.change_set import strangers, with_change
from wattline_scheduler.core.requests.data_sets.find_version import find_version
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.data_record import DataSetRecord, DataVersionRecord

MAX_SETS = 10_000
MAX_SETS_OF_USER = 1_000
MAX_VERSIONS = 50_000
MAX_VERSIONS_OF_SET = 5_000
"""Removed ones included: all are in memory."""
MAX_VERSIONS_OF_USER = 10_000
MAX_ORIGIN_CHARS = 16_384
"""Of a version."""
MAX_ORIGIN_CHARS_OF_USER = 16 * 1024 * 1024

NO_STORE = (
    "the site file names no store of data sets ([data] store); name one with --store, "
    "below a directory of [data] paths or on a host of [data] allow"
)


def prepare(state: State, asker: Asker, request: PrepareData) -> DataPlace | Denied:
    """Where the bytes of the next version belong, if the user may add it."""
    try:
        check_name(request.name)
        store = parse_store_url(request.store).text if request.store else ""
    except ValueError as error:
        return Denied("bad_request", f"a data set: {error}")
    known = state.data.sets.get(request.name)
    denied = _barred(asker, known, request.kind) or _full(state, asker, request.name)
    if denied is not None:
        return denied
    if known is not None and store not in ("", known.store):
        text = f"{known.name} lies in {known.store}; a data set has one store"
        return Denied("conflict", f"{text}: omit --store, or choose another name")
    if known is not None:
        return place_of(state, known.store)
    store = store or state.site.data.store
    if not store:
        return Denied("bad_request", NO_STORE)
    refusal = why_not_allowed(state.site.data, parse_store_url(store))
    return Denied("not_allowed", refusal) if refusal else place_of(state, store)


def place_of(state: State, store: str) -> DataPlace:
    """A store, and how clients reach it."""
    data = state.site.data
    as_of = state.data.as_of(state.epoch)
    return DataPlace(store, as_of, data.endpoint, data.region, state.site.checkpoint_root)


def add_requested(
    state: State, event: ClientRequest, request: AddData, now: Now
) -> DataAdded | Denied:
    """Registers a version that a client has put into its store."""
    asker = Asker(event.user, event.role)
    denied = _unknown_origins(state, asker, request)
    return denied or add(state, asker, request, now)


def add(
    state: State, asker: Asker, request: AddData, now: Now, recipe: JobSpec | None = None
) -> DataAdded | Denied:
    """Registers a version, recorded before it is acknowledged. The content of the newest version
    again adds none. `recipe`: of the job that made it."""
    place = prepare(state, asker, PrepareData(request.name, request.kind, request.store))
    denied = place if isinstance(place, Denied) else _malformed(state, request)
    if denied is not None:
        return denied
    known = state.data.sets.get(request.name)
    live = state.data.live(request.name)
    same = live[-1] if live and live[-1].sha256 == request.sha256 else None
    denied = None if same else _outdated(state, request, now)
    if denied is not None:
        return denied
    store = parse_store_url(request.store).text
    before = known or DataSetRecord(request.name, request.kind, asker.user, store, now.unix_s)
    changed = with_change(state, asker, before, request.change)
    if isinstance(changed, Denied):
        return changed
    if changed != known:
        state.data.put_set(changed)
        state.journal.save(changed)
    if same is not None:
        text = f"{same.reference} has the same content: nothing is added"
        text += "" if changed == known else "; the properties of the set are changed"
        text += strangers(state, request.change)
        return DataAdded(same.name, same.number, same.state, text, is_new=False)
    return _registered(state, asker, request, changed, recipe, now)


def _registered(
    state: State,
    asker: Asker,
    request: AddData,
    of: DataSetRecord,
    recipe: JobSpec | None,
    now: Now,
) -> DataAdded:
    record = DataVersionRecord(
        name=request.name,
        number=state.data.next_number(request.name),
        sha256=request.sha256,
        files=request.files,
        bytes=request.bytes,
        stored_bytes=request.stored_bytes,
        created_unix_s=now.unix_s,
        created_by=asker.user,
        state="candidate" if of.reviewers else "published",
        made_from=request.made_from,
        verdict=request.verdict,
        recipe=recipe,
    )
    state.data.put_version(record)
    state.journal.save(record)
    size = f"{counted(record.files, 'file')}, {about_size(record.bytes)}"
    text = f"{record.reference}: {size}"
    if record.state == "candidate":
        text += f"; a candidate until {listed(of.reviewers)} or an operator approves it"
    state.journal.act("data_added", text, now, actor=asker.user, owner=of.owner)
    text += strangers(state, request.change)
    return DataAdded(record.name, record.number, record.state, text)


def _barred(asker: Asker, known: DataSetRecord | None, kind: Kind) -> Denied | None:
    if known is None:
        return None
    if not asker.may_act_for(known.owner):
        text = f"{known.kind} {known.name} belongs to {known.owner}; you are {asker.user}"
        return Denied("not_allowed", f"{text}: choose another name")
    if known.kind != kind:
        what = "a model (--model)" if known.kind == "model" else "a data set (no --model)"
        return Denied("conflict", f"{known.name} is {what}; choose another name")
    return None


def _full(state: State, asker: Asker, name: str) -> Denied | None:
    book = state.data
    owner = book.sets[name].owner if name in book.sets else asker.user
    text = ""
    if name not in book.sets and len(book.sets) >= MAX_SETS:
        text = f"the site has {MAX_SETS} data sets, the maximum"
    elif name not in book.sets and book.set_counts[owner] >= MAX_SETS_OF_USER:
        text = f"{owner} has {MAX_SETS_OF_USER} data sets, the maximum"
    elif len(book.versions.get(name, ())) >= MAX_VERSIONS_OF_SET:
        text = f"{name} has had {MAX_VERSIONS_OF_SET} versions, the maximum: choose another name"
    elif book.counts[owner] >= MAX_VERSIONS_OF_USER:
        text = f"data sets of {owner} have had {MAX_VERSIONS_OF_USER} versions, the maximum"
    elif book.origin_chars[owner] >= MAX_ORIGIN_CHARS_OF_USER:
        text = (
            f"what versions of {owner} were made from takes {MAX_ORIGIN_CHARS_OF_USER} characters"
        )
    elif book.count >= MAX_VERSIONS:
        text = f"the site has had {MAX_VERSIONS} versions of data sets, the maximum"
    return Denied("busy", text) if text else None


def _malformed(state: State, request: AddData) -> Denied | None:
    if request.verdict is not None and request.verdict.chars > MAX_FINDING_CHARS:
        text = f"its check has {request.verdict.chars} characters, at most {MAX_FINDING_CHARS}"
        return Denied("bad_request", text)
    number = request.verdict.against if request.verdict is not None else 0
    if number and number not in state.data.versions.get(request.name, {}):
        text = f"checked against {version_text(request.name, number)}, which does not exist"
        return Denied("bad_request", text)
    size = chars_of(request.made_from)
    if size > MAX_ORIGIN_CHARS:
        text = f"what it was made from takes {size} characters, at most {MAX_ORIGIN_CHARS}"
        return Denied("bad_request", text)
    return None


def _unknown_origins(state: State, asker: Asker, request: AddData) -> Denied | None:
    for origin in request.made_from:
        if origin.kind == "data" and (why := _unknown(state, asker, origin)):
            return Denied("bad_request", f"made from {origin.name}: {why}")
    return None


def _unknown(state: State, asker: Asker, origin: Origin) -> str:
    found = find_version(state, asker, origin.name)
    if isinstance(found, Denied):
        return found.reason
    _, version = found
    is_exact = origin.name == version.reference
    return "" if is_exact else f"name the version, as in {version.reference}"


def _outdated(state: State, request: AddData, now: Now) -> Denied | None:
    """Denies a version of which an object may have been deleted since its client saw it."""
    store = parse_store_url(request.store).text
    if busy := list(state.data.deleted_now(store, now.unix_s)):
        return Denied("busy", f"{listed(busy)} is being deleted from {store}; try again then")
    if request.as_of != state.data.as_of(state.epoch):
        return Denied("conflict", "objects of the store were deleted meanwhile; look at it again")
    return None
