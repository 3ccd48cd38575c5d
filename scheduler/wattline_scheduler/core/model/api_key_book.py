"""API keys of HTTP clients, and what of them is passed to gateways."""

from dataclasses import dataclass, field

from wattline_protocol.ids import UnixTime
from wattline_protocol.wire.api_keys import ApiKeyGrant
from wattline_scheduler.core.model.jobs.service_names import ServiceNames
from wattline_scheduler.records import ApiKeyRecord

MAX_REVOKED = 1_000
"""Names of revoked keys in memory: a repeated revocation is answered as the first one."""


@dataclass(slots=True)
class ApiKeyBook:
    """Keys that are not revoked, expired ones included."""

    by_name: dict[str, ApiKeyRecord] = field(default_factory=dict)
    revoked: dict[str, ApiKeyRecord] = field(default_factory=dict)
    """The newest ones."""
    changes: int = 0
    _grants: tuple[ApiKeyGrant, ...] = ()
    _granted_at: tuple[int, int] = (-1, -1)

    def add(self, record: ApiKeyRecord) -> None:
        """Adds a key."""
        self.by_name[record.name] = record
        self.revoked.pop(record.name, None)
        self.changes += 1

    def revoke(self, record: ApiKeyRecord) -> None:
        """Removes a key; `record`: as it is revoked."""
        del self.by_name[record.name]
        self.revoked[record.name] = record
        if len(self.revoked) > MAX_REVOKED:
            del self.revoked[next(iter(self.revoked))]
        self.changes += 1

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
    limits = record.rate_per_s, record.burst, record.expires_unix_s
    return ApiKeyGrant(record.name, record.digest, services, *limits)


def is_expired(record: ApiKeyRecord, unix_s: UnixTime) -> bool:
    """Whether gateways refuse it."""
    return record.expires_unix_s is not None and record.expires_unix_s <= unix_s
