"""Versions of data sets that a submitted job names."""

import msgspec

from wattline_protocol.data.references import parse_reference
from wattline_protocol.ids import Now
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.text.wording import about_size, counted, listed
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.core.model.data.data_book import expires_unix_s
from wattline_scheduler.core.model.data.job_data import reads_of
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.data_sets.find_version import find_version
from wattline_scheduler.core.requests.selection import Asker


def with_versions(state: State, spec: JobSpec) -> JobSpec:
    """Replaces aliases by the versions that they name now: every try of the job reads the same.
    What cannot be resolved stays, and is refused. The model of a service is one of them."""
    service, texts = spec.service, spec.data.datasets
    if service is not None and service.model:
        service = msgspec.structs.replace(service, model=_number(state, service.model))
        texts = (*texts, service.model)
    names = tuple(dict.fromkeys(_number(state, text) for text in texts))
    if (service, names) == (spec.service, spec.data.datasets):
        return spec
    data = msgspec.structs.replace(spec.data, datasets=names)
    return msgspec.structs.replace(spec, service=service, data=data)


def _number(state: State, text: str) -> str:
    try:
        found = state.data.find(parse_reference(text))
    except ValueError:
        return text
    return text if isinstance(found, str) else found.reference


def data_refused(state: State, asker: Asker, spec: JobSpec, now: Now) -> Denied | None:
    """Denies a version that does not exist, was removed, whose retention has ended, or that the
    user may not read."""
    for text in spec.data.datasets:
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
    return None


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
