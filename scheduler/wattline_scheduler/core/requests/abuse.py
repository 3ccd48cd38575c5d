"""Blocks of API keys and addresses for abuse: reported by gateways, lifted by users.

Theory. A gateway judges its own clients, and acts at once. It reports what is in force each second;
the scheduler makes a key's block known to all other gateways with the key's grant, on record and
for `block` of the site file. A gateway is trusted with its own clients only, so what it reports of
keys is bounded: it blocks so many keys at other gateways at a time, each event names it, and all of
its blocks end when it is removed. An address stays blocked where it was judged; other gateways
would block whole networks on its word.
"""

from ipaddress import ip_network

import msgspec

from wattline_protocol.ids import Instant, Now, UnixTime
from wattline_protocol.wire.api_keys import KeyState, ReportAbuse, Restraint, UnblockApiKey
from wattline_protocol.wire.client_messages import Answer, Denied, Done
from wattline_scheduler.api_key_record import ApiKeyRecord
from wattline_scheduler.core.model.events import ClientRequest
from wattline_scheduler.core.model.not_found import not_there
from wattline_scheduler.core.model.problems import begin, end
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.selection import Asker

KEY_KIND, ADDRESS_KIND = "api_key_blocked", "address_blocked"

MAX_OF_GATEWAY = 16
"""Keys that one gateway blocks at the others at a time. More are blocked where they were judged."""

MAX_ADDRESSES = 8
"""Blocked addresses of one gateway that are problems at a time."""

LEAST_LEFT_S = 5.0
"""A block that is about to end at its gateway does not begin at others."""


def take_abuse(state: State, gateway: str, report: ReportAbuse, now: Now) -> Done:
    """Takes the restraints that a gateway has in force by its own judgement."""
    if state.site.abuse.enabled:
        for one in report.restraints:
            if one.is_key:
                _take_key(state, gateway, one, now)
            elif one.is_blocked:
                _take_address(state, gateway, one, now)
    return Done("")


def _take_address(state: State, gateway: str, one: Restraint, now: Now) -> None:
    try:
        ip_network(one.subject)
    except ValueError:
        return
    place = f"at gateway {gateway}"
    subject = f"address {one.subject} {place}"
    of_gateway = (key for key in state.problems.open if key[0] == ADDRESS_KIND)
    known = {subject for _, subject in of_gateway if subject.endswith(place)}
    if subject in known or len(known) < MAX_ADDRESSES:
        begin(state, ADDRESS_KIND, subject, f"{subject}: {one.evidence.text}", now)


def _take_key(state: State, gateway: str, one: Restraint, now: Now) -> None:
    book = state.api_keys
    record = book.of_digest(one.subject)
    if record is None or now.unix_s - one.age_s < record.unblocked_unix_s:
        return  # revoked, or unblocked since
    block_s = state.site.abuse.block_s
    text = _evidence(one, gateway)
    if not one.is_blocked:
        book.slowed[record.name] = Instant(now.mono_s + min(one.left_s, block_s)), text
        return
    is_new = not record.blocked_until_unix_s and one.left_s >= LEAST_LEFT_S
    if is_new and _may_block(state, gateway):
        until_unix_s = UnixTime(now.unix_s + block_s)
        _change(state, record, until_unix_s, gateway, text)
        until = state.calendar.text(until_unix_s)
        event = f"API key {record.name} of {record.owner} is blocked until {until}: {text}"
        begin(state, KEY_KIND, _subject(record.name), event, now)


def _may_block(state: State, gateway: str) -> bool:
    by_name = state.api_keys.by_name
    return sum(by_name[name].blocked_by == gateway for name in state.api_keys.blocked) < (
        MAX_OF_GATEWAY
    )


def _evidence(one: Restraint, gateway: str) -> str:
    newest = f"; the newest of {one.evidence.address}" if one.evidence.address else ""
    return f"{one.evidence.text}{newest} (gateway {gateway})"


def _subject(name: str) -> str:
    return f"API key {name}"


def _change(
    state: State, record: ApiKeyRecord, until_unix_s: UnixTime, gateway: str, text: str
) -> ApiKeyRecord:
    changed = msgspec.structs.replace(
        record, blocked_until_unix_s=until_unix_s, blocked_by=gateway, abuse=text
    )
    state.api_keys.change(changed)
    state.journal.save(changed)
    return changed


def _lift(state: State, record: ApiKeyRecord, text: str, now: Now) -> None:
    _change(state, record, UnixTime(0.0), "", "")
    end(state, KEY_KIND, _subject(record.name), now, text)


def unblock(state: State, event: ClientRequest, request: UnblockApiKey, now: Now) -> Answer:
    """Lifts the block of a key, its own or, by an operator, any; gateways forget its requests."""
    asker, book = Asker(event.user, event.role), state.api_keys
    record = book.by_name.get(request.name)
    if record is None:
        known = [k.name for k in book.by_name.values() if asker.may_act_for(k.owner)]
        return not_there("API key", request.name, known)
    if not asker.may_act_for(record.owner):
        text = f"API key {record.name} belongs to {record.owner}; you are {event.user}"
        return Denied("not_allowed", text)
    text = f"API key {record.name} is unblocked"
    book.slowed.pop(record.name, None)
    _lift(state, msgspec.structs.replace(record, unblocked_unix_s=now.unix_s), text, now)
    state.journal.act("api_key_unblocked", text, now, actor=event.user)
    return Done(text)


def forget_blocks_of(state: State, gateway: str, now: Now) -> None:
    """Lifts all blocks that a gateway reported: it is removed, or has another key."""
    by_name = state.api_keys.by_name
    for record in [by_name[name] for name in state.api_keys.blocked]:
        if record.blocked_by == gateway:
            text = f"API key {record.name}: gateway {gateway}, which reported it, was removed"
            _lift(state, msgspec.structs.replace(record, unblocked_unix_s=now.unix_s), text, now)


def end_of_key(state: State, name: str, now: Now) -> None:
    """A key is revoked: so is its block."""
    end(state, KEY_KIND, _subject(name), now, f"API key {name} is revoked")


def tick_blocks(state: State, now: Now) -> None:
    """Ends blocks at their time."""
    book = state.api_keys
    for name in [n for n in book.blocked if book.by_name[n].blocked_until_unix_s <= now.unix_s]:
        text = f"API key {name}: its block has ended"
        _lift(state, book.by_name[name], text, now)
    for name in [n for n, (until, _) in book.slowed.items() if until <= now.mono_s]:
        del book.slowed[name]


def state_of(state: State, record: ApiKeyRecord) -> tuple[KeyState, str]:
    """Whether gateways block or slow a key, and why."""
    if record.blocked_until_unix_s:
        return "blocked", record.abuse
    slowed = state.api_keys.slowed.get(record.name)
    return ("ok", "") if slowed is None else ("slowed", slowed[1])
