"""Adds and revokes API keys of HTTP clients."""

import math

import msgspec

from wattline_protocol.ids import Now, UnixTime
from wattline_protocol.text.names import check_name
from wattline_protocol.text.quantities import format_count, format_duration, format_rate
from wattline_protocol.text.wording import counted, listed
from wattline_protocol.wire.api_keys import AddApiKey, RevokeApiKey
from wattline_protocol.wire.client_messages import Answer, Denied, Done
from wattline_scheduler.api_key_record import ApiKeyRecord
from wattline_scheduler.core.model.api_key_book import granted_bytes
from wattline_scheduler.core.model.events import ClientRequest
from wattline_scheduler.core.model.not_found import not_there, not_yet
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.abuse import end_of_key
from wattline_scheduler.core.requests.selection import Asker

MAX_SERVICES = 16
MAX_OF_USER = 500
MAX_OF_SITE = 2_000
MAX_BYTES_OF_USER = 512 * 1024
MAX_BYTES_OF_SITE = 1536 * 1024
"""Keys that are not revoked. Every gateway gets all of them in one message, with all services and
routes: one that is too long reaches none."""


def add(state: State, event: ClientRequest, request: AddApiKey, now: Now) -> Answer:
    """Adds a key: recorded before it is acknowledged. The same digest returns the same answer."""
    asker = Asker(event.user, event.role)
    known = state.api_keys.by_name.get(request.name)
    if known is not None and (known.digest, known.owner) == (request.digest, event.user):
        return Done(_text(known) + _missing(state, known))
    denied = _malformed(request) or _taken(state, asker, request) or _barred(state, asker, request)
    if denied is not None:
        return denied
    record = ApiKeyRecord(
        name=request.name,
        digest=request.digest,
        owner=event.user,
        services=tuple(sorted(set(request.services))),
        made_unix_s=now.unix_s,
        rate_per_s=request.rate_per_s,
        burst=_burst(request),
        expires_unix_s=UnixTime(now.unix_s + request.valid_s) if request.valid_s else None,
        is_by_operator=asker.is_operator,
        priority=request.priority,
        tokens_per_day=request.tokens_per_day,
        tier=request.tier,
    )
    state.api_keys.add(record)
    state.journal.save(record)
    until = f", for {format_duration(request.valid_s)}" if request.valid_s else ""
    text = _text(record)
    state.journal.act("api_key_added", text + until, now, actor=event.user)
    return Done(text + _missing(state, record))


def revoke(state: State, event: ClientRequest, request: RevokeApiKey, now: Now) -> Answer:
    """Revokes a key, its own or, by an operator, any."""
    asker = Asker(event.user, event.role)
    record = state.api_keys.by_name.get(request.name)
    before = state.api_keys.revoked.get(request.name)
    if record is None and before is not None and asker.may_act_for(before.owner):
        return Done(f"API key {before.name} is revoked")
    if record is None:
        known = [k.name for k in state.api_keys.by_name.values() if asker.may_act_for(k.owner)]
        return not_there("API key", request.name, known)
    if not asker.may_act_for(record.owner):
        text = f"API key {record.name} belongs to {record.owner}; you are {event.user}"
        return Denied("not_allowed", text)
    record = msgspec.structs.replace(record, revoked_unix_s=now.unix_s, revoked_by=event.user)
    end_of_key(state, record.name, now)
    state.api_keys.revoke(record)
    state.journal.save(record)
    text = f"API key {record.name} is revoked"
    state.journal.act("api_key_revoked", text, now, actor=event.user)
    return Done(text)


def _text(record: ApiKeyRecord) -> str:
    limit = ""
    if record.rate_per_s:
        limit = f", {format_rate(record.rate_per_s)}, burst {record.burst}"
    if record.tokens_per_day:
        limit += f", {format_count(record.tokens_per_day)} tokens a day"
        limit += " (a model that does not report tokens uses none)"
    if record.priority != "normal":
        limit += f", priority {record.priority}"
    if record.tier:
        limit += f", tier {record.tier}"
    services = listed(record.services, MAX_SERVICES)
    return f"API key {record.name} of {record.owner} for {services}{limit}"


def _missing(state: State, record: ApiKeyRecord) -> str:
    """An operator's key may be made before its services; or a name is misspelled."""
    names = state.work.services
    missing = [n for n in record.services if n not in names.routes and names.holder(n) is None]
    return f" ({not_yet(missing)})" if missing else ""


def _burst(request: AddApiKey) -> int:
    if not request.rate_per_s:
        return 0
    return request.burst or max(1, math.ceil(request.rate_per_s))


def _malformed(request: AddApiKey) -> Denied | None:
    try:
        check_name(request.name)
        for name in (*request.services, *([request.tier] if request.tier else [])):
            check_name(name)
    except ValueError as error:
        return Denied("bad_request", f"an API key: {error}")
    if not 1 <= len(request.services) <= MAX_SERVICES:
        given = counted(len(request.services), "service")
        return Denied("bad_request", f"{given}: a key is for 1 to {MAX_SERVICES} (--service)")
    if request.burst and not request.rate_per_s:
        return Denied("bad_request", "a burst needs a rate (--rate 50/s)")
    return None


def _taken(state: State, asker: Asker, request: AddApiKey) -> Denied | None:
    keys = state.api_keys.by_name
    if request.name in keys:
        hint = f"choose another name, or `wattline key revoke {request.name}`"
        return Denied("conflict", f"API key {request.name} already exists; {hint}")
    if state.api_keys.of_digest(request.digest) is not None:
        return Denied("conflict", "this key already exists under another name")
    if len(keys) >= MAX_OF_SITE:
        return Denied("busy", f"the site has {MAX_OF_SITE} API keys, the maximum; revoke some")
    if sum(key.owner == asker.user for key in keys.values()) >= MAX_OF_USER:
        return Denied("busy", f"{asker.user} has {MAX_OF_USER} API keys, the maximum; revoke some")
    return _too_large(state, asker, request)


def _too_large(state: State, asker: Asker, request: AddApiKey) -> Denied | None:
    known, more = state.api_keys.bytes_of, granted_bytes(request.services)
    for whose, size, most in (
        (asker.user, known[asker.user], MAX_BYTES_OF_USER),
        ("the site", known.total(), MAX_BYTES_OF_SITE),
    ):
        if size + more > most:
            text = f"the API keys of {whose} would take {size + more} bytes at gateways"
            limit = f"at most {most}: name fewer services, or revoke some"
            return Denied("busy", f"{text}, {limit}")
    return None


def _barred(state: State, asker: Asker, request: AddApiKey) -> Denied | None:
    """Denies a service of others. Operators may name any, also before it exists."""
    if asker.is_operator:
        return None
    names = state.work.services
    for name in request.services:
        users, first = names.routes.get(name, names.listed.get(name)), names.holder(name)
        if users is not None and asker.user in users:
            continue
        if users is not None:
            if name in names.routes:
                text = f"route {name} is for {listed(users) or 'operators'}; you are {asker.user}"
            else:
                text = f"service {name} is for {listed(users)} ([[service]]); you are {asker.user}"
            return Denied("not_allowed", text)
        if first is None:
            hint = "submit it first, or ask an operator for the key"
            text = f"no open service and no route of yours is named {name}; {hint}"
            return Denied("not_allowed", text)
        if first.record.owner != asker.user:
            text = f"service {name} belongs to {first.record.owner} (job {first.id})"
            return Denied("not_allowed", f"{text}; you are {asker.user}")
    return None
