"""API keys of HTTP clients, and what of them is passed to gateways."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from wattline_protocol.ids import Instant, UnixTime
from wattline_protocol.wire.api_keys import ApiKeyGrant, KeyDemand
from wattline_scheduler.api_key_record import ApiKeyRecord
from wattline_scheduler.core.model.jobs.service_names import ServiceNames

MAX_REVOKED = 1_000
"""Names of revoked keys in memory: a repeated revocation is answered as the first one."""


GRANT_BYTES = 512
"""Of a key in the message to gateways, at most, besides the names of its services."""


def granted_bytes(services: Iterable[str]) -> int:
    """Bytes of such a key, at most. Names are ASCII."""
    return GRANT_BYTES + sum(2 + len(name) for name in services)


NEVER = Instant(0.0)


@dataclass(slots=True)
class GatewayUse:
    """What a gateway reported of API keys."""

    heard_at: Instant
    demand: KeyDemand
    report: str = ""
    """The newest one."""


@dataclass(slots=True)
class ApiKeyBook:
    """Keys that are not revoked, expired ones included."""

    by_name: dict[str, ApiKeyRecord] = field(default_factory=dict)
    revoked: dict[str, ApiKeyRecord] = field(default_factory=dict)
    """The newest ones."""
    gateways: dict[str, GatewayUse] = field(default_factory=dict)
    """Those that report."""
    saved_at: Instant = NEVER
    """When counts were saved last."""
    changes: int = 0
    """Of keys; counts are none."""
    blocked: dict[str, None] = field(default_factory=dict)
    """Names of keys with a block that is in force, or about to end."""
    slowed: dict[str, tuple[Instant, str]] = field(default_factory=dict)
    """Names of keys that gateways slow, with the end and the evidence."""
    bytes_of: Counter[str] = field(default_factory=Counter)
    """What the keys of each owner take in the message to gateways, at most."""
    _names: dict[str, str] = field(default_factory=dict)
    """By digest."""
    _counted: dict[str, None] = field(default_factory=dict)
    """Names of keys with counts that are not saved."""
    _used_tokens: dict[str, int] = field(default_factory=dict)
    """By digest, of keys with a budget, on the day that began at `_day_unix_s`."""
    _day_unix_s: float = -1.0
    _grants: tuple[ApiKeyGrant, ...] = ()
    _granted_at: tuple[int, int] = (-1, -1)

    def add(self, record: ApiKeyRecord) -> None:
        """Adds a key."""
        self.by_name[record.name] = record
        self._names[record.digest] = record.name
        self.bytes_of[record.owner] += granted_bytes(record.services)
        self.revoked.pop(record.name, None)
        self._note_blocked(record)
        self.changes += 1

    def revoke(self, record: ApiKeyRecord) -> None:
        """Removes a key; `record`: as it is revoked."""
        del self.by_name[record.name], self._names[record.digest]
        self.bytes_of[record.owner] -= granted_bytes(record.services)
        self.bytes_of += Counter()  # without zero entries
        self._counted.pop(record.name, None)
        self._used_tokens.pop(record.digest, None)
        self.blocked.pop(record.name, None)
        self.slowed.pop(record.name, None)
        self.revoked[record.name] = record
        if len(self.revoked) > MAX_REVOKED:
            del self.revoked[next(iter(self.revoked))]
        self.changes += 1

    def change(self, record: ApiKeyRecord) -> None:
        """Replaces a key; gateways get the change."""
        self.by_name[record.name] = record
        self._note_blocked(record)
        self.changes += 1

    def _note_blocked(self, record: ApiKeyRecord) -> None:
        if record.blocked_until_unix_s:
            self.blocked[record.name] = None
        else:
            self.blocked.pop(record.name, None)

    def of_digest(self, digest: str) -> ApiKeyRecord | None:
        """The key with this digest."""
        name = self._names.get(digest)
        return None if name is None else self.by_name[name]

    def count(self, record: ApiKeyRecord) -> None:
        """Replaces the counts of a key, to be saved later."""
        self.by_name[record.name] = record
        self._counted[record.name] = None
        if record.tokens_per_day and record.day_unix_s == self._day_unix_s:
            self._used_tokens[record.digest] = record.day_tokens

    def used_tokens(self, day_unix_s: float) -> dict[str, int]:
        """By digest, of keys with a budget that were used on the day."""
        if day_unix_s != self._day_unix_s:
            self._day_unix_s = day_unix_s
            budgeted = (one for one in self.by_name.values() if one.tokens_per_day)
            of_day = ((one.digest, tokens_of_day(one, day_unix_s)) for one in budgeted)
            self._used_tokens = {digest: tokens for digest, tokens in of_day if tokens}
        return self._used_tokens

    def take_counted(self) -> list[str]:
        """Names of keys with counts to be saved."""
        names = list(self._counted)
        self._counted.clear()
        return names

    def grants(self, names: ServiceNames) -> tuple[ApiKeyGrant, ...]:
        """All keys with the services that they open now; the same object until one changes."""
        at = self.changes, names.changes
        if at != self._granted_at:
            self._grants = tuple(_grant(record, names) for record in self.by_name.values())
            self._granted_at = at
        return self._grants


def _grant(record: ApiKeyRecord, names: ServiceNames) -> ApiKeyGrant:
    """A name may have passed to another user since: then the key of a submitter opens it no more,
    until it is free or its own again."""
    services = record.services
    if not record.is_by_operator:
        services = tuple(one for one in services if names.may_use(record.owner, one))
    return ApiKeyGrant(
        name=record.name,
        digest=record.digest,
        services=services,
        rate_per_s=record.rate_per_s,
        burst=record.burst,
        expires_unix_s=record.expires_unix_s,
        priority=record.priority,
        tokens_per_day=record.tokens_per_day,
        tier=record.tier,
        blocked_until_unix_s=record.blocked_until_unix_s,
        unblocked_unix_s=record.unblocked_unix_s,
    )


def tokens_of_day(record: ApiKeyRecord, day_unix_s: float) -> int:
    """Tokens that were counted on the day that began then."""
    return record.day_tokens if record.day_unix_s == day_unix_s else 0


def is_expired(record: ApiKeyRecord, unix_s: UnixTime) -> bool:
    """Whether gateways refuse it."""
    return record.expires_unix_s is not None and record.expires_unix_s <= unix_s
