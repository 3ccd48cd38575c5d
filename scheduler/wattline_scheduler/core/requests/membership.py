"""Membership changes (enrolled, changed, removed), detected in the allow-list and audited."""

import msgspec

from wattline_protocol.ids import Now
from wattline_protocol.text.wording import counted, listed
from wattline_scheduler.core.model.events import MembersSeen
from wattline_scheduler.core.model.journal import SITE_DIRECTORY
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.abuse import forget_blocks_of
from wattline_scheduler.core.requests.access import apply_members
from wattline_scheduler.core.rollout.gone_gateways import forget_gateway
from wattline_scheduler.records import MemberRecord

KEY_CHARS = 8
"""Length of the public key prefix in texts."""


def members_seen(state: State, event: MembersSeen, now: Now) -> None:
    """Compares the allow-list with the last one seen, also by an earlier run."""
    is_first = not state.members
    seen = {member.name: member for member in event.members}
    for name in sorted(state.members.keys() - seen.keys()):
        _removed(state, state.members.pop(name), now, is_reported=not is_first)
    for name in sorted(seen):
        _seen(state, seen[name], now, is_reported=not is_first)
    apply_members(state)
    if is_first and seen:
        text = f"{counted(len(seen), 'member')} enrolled: {listed(sorted(seen))}"
        state.journal.act("members_known", text, now, actor=SITE_DIRECTORY)


def _removed(state: State, record: MemberRecord, now: Now, *, is_reported: bool) -> None:
    state.journal.save(msgspec.structs.replace(record, is_removed=True))
    forget_gateway(state, record.name, now)
    if is_reported:
        forget_blocks_of(state, record.name, now)
        text = f"{record.name} ({record.role}) was removed: its key is refused"
        state.journal.act("member_removed", text, now, actor=SITE_DIRECTORY, level="warning")


def _seen(state: State, member: MemberRecord, now: Now, *, is_reported: bool) -> None:
    before = state.members.get(member.name)
    if before is not None and _is_same(member, before):
        return
    state.members[member.name] = member
    state.journal.save(member)
    forget_gateway(state, member.name, now)
    if not is_reported:
        return
    key = member.public_key[:KEY_CHARS]
    if before is None:
        text = f"{member.name} was enrolled as {member.role}, key {key}…"
        state.journal.act("member_enrolled", text, now, actor=SITE_DIRECTORY)
        return
    changes = []
    if before.role != member.role:
        changes.append(f"role {member.role} instead of {before.role}")
    if before.public_key != member.public_key:
        forget_blocks_of(state, member.name, now)
        changes.append(f"another key, {key}…")
    text = f"{member.name} was changed: {', '.join(changes)}"
    state.journal.act("member_changed", text, now, actor=SITE_DIRECTORY, level="warning")


def _is_same(one: MemberRecord, other: MemberRecord) -> bool:
    return (one.role, one.public_key) == (other.role, other.public_key)
