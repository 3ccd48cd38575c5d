"""Versions of data sets that a submitted job names."""

import msgspec

from wattline_protocol.data.references import parse_reference
from wattline_protocol.data.requests import DataPlace, Kind, PrepareData
from wattline_protocol.data.store_url import parse_store_url
from wattline_protocol.ids import Now, UserName
from wattline_protocol.job.data_values import is_latest
from wattline_protocol.job.spec import DataSpec, JobSpec, encoded_bytes
from wattline_protocol.text.wording import about_size, counted, listed
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.core.model.data.data_book import expires_unix_s, may_read
from wattline_scheduler.core.model.data.job_data import reads_of, recipe_of, with_made
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.data_sets.add_version import prepare
from wattline_scheduler.core.requests.data_sets.find_version import find_version
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.data_record import DataSetRecord

MAX_RECIPE_BYTES = 16 * 1024
"""Of a job that makes a version, which has it on record."""


def with_versions(state: State, spec: JobSpec) -> JobSpec:
    """Replaces aliases by the versions that they name now: every try of the job reads the same.
    What cannot be resolved stays, and is refused. The model of a service is one of them. The latest
    version of a set is resolved when the jobs of `after_ok` have ended: they may make it."""
    for number in spec.after_ok:
        parent = state.work.jobs.get(number)
        if parent is not None and parent.record.made:
            spec = with_made(spec, parent.record.made)
    service, texts = spec.service, spec.data.datasets
    if service is not None and service.model:
        service = msgspec.structs.replace(service, model=_number(state, service.model))
        texts = (*texts, service.model)
    names = tuple(
        dict.fromkeys(text if _is_later(spec, text) else _number(state, text) for text in texts)
    )
    if (service, names) == (spec.service, spec.data.datasets):
        return spec
    data = msgspec.structs.replace(spec.data, datasets=names)
    return msgspec.structs.replace(spec, service=service, data=data)


def _is_later(spec: JobSpec, text: str) -> bool:
    return bool(spec.after_ok) and spec.kind != "service" and is_latest(text)


def _number(state: State, text: str) -> str:
    try:
        found = state.data.find(parse_reference(text))
    except ValueError:
        return text
    return text if isinstance(found, str) else found.reference


def data_refused(state: State, asker: Asker, spec: JobSpec, now: Now) -> Denied | None:
    """Denies a version that does not exist, was removed, whose retention has ended, or that the
    user may not read; and one that the user may not make."""
    if (denied := _output_refused(state, asker, spec)) is not None:
        return denied
    for text in spec.data.datasets:
        if _is_later(spec, text) and _is_made(state, asker, spec, text):
            continue
        found = find_version(state, asker, text)
        if isinstance(found, Denied):
            return found
        record, version = found
        if spec.service is not None and text == spec.service.model and record.kind != "model":
            how = f"wattline data add {record.name} PATH --model"
            return Denied("bad_request", f"{text} is a data set, not a model (a model: {how})")
        if version.state == "removed":
            live = [f"v{one.number}" for one in reversed(state.data.live(record.name))]
            there = f"{record.name} has {listed(live)}" if live else "it has no other version"
            return Denied("not_found", f"{text} was removed by {version.removed_by}; {there}")
        ends = expires_unix_s(record, version)
        if ends is not None and ends <= now.unix_s:
            ended = f"the retention of {text} ended {state.calendar.text(ends)}"
            return Denied("conflict", f"{ended}; its owner can extend it (data add --retention)")
    return _outputs_refused(state, spec)


def _outputs_refused(state: State, spec: JobSpec) -> Denied | None:
    """Denies a job whose checkpoints cannot be kept at this site."""
    if not spec.data.outputs:
        return None
    site = state.site
    if not site.data.store.startswith("s3://"):
        has = site.data.store or "none"
        text = f'data.outputs needs [data] store = "s3://…" in the site file, which has {has}'
        return Denied("bad_request", text)
    if spec.resources.most_nodes > 1 and not site.checkpoint_root:
        nodes = counted(spec.resources.most_nodes, "node")
        text = f"a gang of {nodes} saves into one directory: it needs checkpoint_root"
        return Denied("bad_request", f"{text} in the site file, or data.outputs is to be omitted")
    return None


def _is_made(state: State, asker: Asker, spec: JobSpec, text: str) -> bool:
    """Whether a job that it waits for makes the set, which need not exist before."""
    name = text.partition("@")[0]
    record = state.data.sets.get(name)
    if record is not None and not may_read(record, asker.user, is_operator=asker.is_operator):
        return False
    parents = (state.work.jobs.get(number) for number in spec.after_ok)
    return any(parent is not None and parent.spec.data.makes == name for parent in parents)


def _output_refused(state: State, asker: Asker, spec: JobSpec) -> Denied | None:
    data = spec.data
    if data.rebuilds:
        found = find_version(state, asker, data.rebuilds)
        if isinstance(found, Denied):
            return found
        record, version = found
        if version.state == "removed":
            return Denied("not_found", f"{data.rebuilds} was removed by {version.removed_by}")
        return _not_owner(record, asker)
    if not data.makes:
        return None
    size = encoded_bytes(recipe_of(spec))
    if size > MAX_RECIPE_BYTES:
        text = f"the job has {size} bytes, which its version would record, at most"
        return Denied("bad_request", f"{text} {MAX_RECIPE_BYTES}: put the rest into files")
    kind: Kind = "model" if data.makes_model else "dataset"
    place = prepare(state, asker, PrepareData(data.makes, kind))
    if isinstance(place, Denied):
        return Denied(place.kind, f"data.makes: {place.reason}")
    known = state.data.sets.get(data.makes)
    denied = None if known is None else _not_owner(known, asker)
    return denied or _without_keys(known, place, data)


def _without_keys(known: DataSetRecord | None, place: DataPlace, data: DataSpec) -> Denied | None:
    """Denies an output that could never be put into its bucket."""
    secret = data.store_secret if known is None else known.secret
    if secret or not place.store.startswith("s3://"):
        return None
    text = f"data.makes: {data.makes} is stored in {place.store}; name the secret with its keys"
    how = f"wattline data set {data.makes} --secret ENTRY" if known else 'store_secret = "ENTRY"'
    return Denied("bad_request", f"{text}: {how}")


def claim_set(state: State, owner: UserName, spec: JobSpec, now: Now) -> None:
    """Puts a set that an accepted job makes on record, without versions: no other user can take
    its name while the job waits or runs."""
    name = spec.data.makes
    if not name or name in state.data.sets:
        return
    kind: Kind = "model" if spec.data.makes_model else "dataset"
    store = parse_store_url(state.site.data.store).text
    secret = spec.data.store_secret
    record = DataSetRecord(name, kind, owner, store, now.unix_s, secret=secret)
    state.data.put_set(record)
    state.journal.save(record)


def _not_owner(record: DataSetRecord, asker: Asker) -> Denied | None:
    """Operators too: the job has the account and the secrets of its own user."""
    if record.owner == asker.user:
        return None
    text = f"{record.kind} {record.name} belongs to {record.owner}, whose jobs make its versions"
    return Denied("not_allowed", f"{text}; you are {asker.user}")


def too_large_for_caches(state: State, spec: JobSpec) -> str:
    """Reason if too few nodes have a cache in which the data of the job fits; nodes that have not
    reported theirs may have any."""
    size = sum(version.bytes for version in reads_of(state.data, spec).versions.values())
    limits = [node.data.limit_bytes for node in state.nodes.values()]
    able = sum(limit is None or limit >= size for limit in limits)
    wanted = spec.resources.least_nodes
    if not size or able >= wanted:
        return ""
    names, largest = listed(spec.data.datasets), max(filter(None, limits), default=0)
    has = "have" if len(spec.data.datasets) > 1 else "has"
    where = f"the largest cache of a node has {about_size(largest)}"
    if able:
        where = f"only {counted(able, 'node')} of {wanted} have a cache of that size"
    return f"{names} {has} {about_size(size)}; {where} (--cache-size of its agent)"
