"""API keys as the scheduler last granted them: who may use which service. No I/O.

Keys are found by their SHA-256, so that the time of a look-up shows nothing of a secret, and every
check does the same work whatever is wrong.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from math import inf

from wattline_protocol.wire.api_keys import ApiKeyGrant

NO_SERVICE = ""
"""The name of none: for requests about all services of a key."""


@dataclass(slots=True)
class ApiKey:
    """A key that clients may present."""

    name: str
    services: frozenset[str]
    expires_unix_s: float


NOBODY = ApiKey("", frozenset(), 0.0)
"""In place of an unknown key."""


@dataclass(slots=True)
class ApiKeyRing:
    """All keys, from the newest grants."""

    valid_s: float
    """How long they are accepted without news of the scheduler."""
    heard_s: float = -inf
    """When they were granted last (monotonic)."""
    _keys: dict[bytes, ApiKey] = field(default_factory=dict)

    def learn(self, grants: Iterable[ApiKeyGrant], now_s: float) -> None:
        """Replace all keys by those granted now."""
        self.heard_s = now_s
        self._keys = {bytes.fromhex(grant.digest): _key(grant) for grant in grants}

    def is_outdated(self, now_s: float) -> bool:
        """True: revocations may have been missed for too long."""
        return now_s - self.heard_s > self.valid_s

    def find(self, secret: bytes, unix_s: float) -> ApiKey | None:
        """The key; None: it is unknown, revoked or expired."""
        key = self._keys.get(sha256(secret).digest(), NOBODY)
        return key if key.expires_unix_s > unix_s else None


def _key(grant: ApiKeyGrant) -> ApiKey:
    expires_unix_s = inf if grant.expires_unix_s is None else grant.expires_unix_s
    return ApiKey(grant.name, frozenset(grant.services), expires_unix_s)
