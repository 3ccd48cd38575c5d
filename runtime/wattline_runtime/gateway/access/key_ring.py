"""API keys as the scheduler last granted them: who may use which service, and how much. No I/O.

Keys are found by their SHA-256, so that the time of a look-up shows nothing of a secret, and every
check does the same work whatever is wrong.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import inf

from wattline_protocol.ids import UnixTime
from wattline_protocol.wire.api_keys import ApiKeyGrant, ApiKeyShares, ApiKeyUse
from wattline_runtime.gateway.access.conduct import Conduct
from wattline_runtime.gateway.access.rate_limit import TokenBucket
from wattline_runtime.gateway.access.token_budget import UNKNOWN_DAY, Day, TokenCount, as_reported
from wattline_runtime.gateway.events import NORMAL, PRIORITIES

BUDGET_RETRY_S = 1.0
"""Work that waits for its turn looks so often whether its key has tokens again."""
LEAST_SHARE = 1e-6
"""No part of a rate at all would be no limit."""
WHOLE: Mapping[str, float] = {}
UNUSED: Mapping[str, int] = {}


@dataclass(slots=True)
class ApiKey:
    """A key that clients may present."""

    grant: ApiKeyGrant
    services: frozenset[str]
    expires_unix_s: float
    bucket: TokenBucket | None = None
    """None: no rate."""
    rank: int = NORMAL
    """Its requests are of this priority class at most."""
    share: float = 1.0
    """Of its rate and its token budget, at this gateway."""
    tokens: TokenCount = field(default_factory=TokenCount)
    conduct: Conduct = field(default_factory=Conduct)
    requests: int = 0
    """Since the last report, as the next ones."""
    refused: int = 0
    inputs: int = 0
    """Those that were asked for."""
    used_unix_s: float = 0.0
    energy_uj: int = 0

    def used(self, unix_s: float) -> None:
        """A request has presented it."""
        self.requests += 1
        self.used_unix_s = unix_s

    def draw(self, energy_uj: int | None) -> None:
        """An answer's energy; None: not measured."""
        self.energy_uj += energy_uj or 0

    def take(self, inputs: int, now_s: float) -> float:
        """Take inputs out of its rate: 0, or the seconds until the rate would admit them."""
        self.inputs += inputs
        self.conduct.inputs += inputs
        if self.bucket is None or not self.bucket.take(inputs, now_s):
            return 0.0
        self.refused += 1
        if inputs > max(1, self.grant.burst):
            return inf
        # By the whole rate: the part of it that this gateway grants follows use.
        return (inputs - self.bucket.tokens) / self.grant.rate_per_s

    def take_in_turn(self, inputs: int, now_s: float, unix_s: float) -> float:
        """As `take`, for work that waits until it is admitted: counted as used then, never as
        refused."""
        if self.tokens.left <= 0:
            return BUDGET_RETRY_S
        wait_s = 0.0 if self.bucket is None else self.bucket.take(inputs, now_s)
        if not wait_s:
            self.inputs += inputs
            self.used(unix_s)
        return wait_s

    def limit(self, share: float, now_s: float) -> None:
        """Set the part of its rate that this gateway may grant; one input at least at a time."""
        self.share = share
        rate_per_s = self.grant.rate_per_s * max(share, LEAST_SHARE)
        if not self.grant.rate_per_s:
            self.bucket = None
            return
        burst = max(1.0, self.grant.burst * share)
        if self.bucket is None:
            self.bucket = TokenBucket(rate_per_s, burst, burst, now_s)
        else:
            self.bucket.limit(rate_per_s, burst, now_s)

    def take_use(self) -> ApiKeyUse:
        """Its counts since the last call; they start at zero again."""
        found = self.requests, self.refused, self.inputs
        energy_uj, used_unix_s = self.energy_uj, UnixTime(self.used_unix_s)
        self.requests = self.refused = self.inputs = self.energy_uj = 0
        return ApiKeyUse(self.grant.digest, *found, used_unix_s, *self.tokens.take(), energy_uj)


NO_KEY = ApiKey(ApiKeyGrant("", "", ()), frozenset(), 0.0)
"""In place of an unknown key."""


@dataclass(slots=True)
class ApiKeyRing:
    """All keys, from the newest grants."""

    valid_s: float
    """How long they are accepted without news of the scheduler."""
    heard_s: float = -inf
    """When they were granted last (monotonic)."""
    _grants: tuple[ApiKeyGrant, ...] = ()
    _keys: dict[bytes, ApiKey] = field(default_factory=dict)
    _share: float = 1.0
    _shares: Mapping[str, float] = field(default_factory=lambda: WHOLE)
    day: Day = UNKNOWN_DAY
    _used_tokens: Mapping[str, int] = field(default_factory=lambda: UNUSED)

    def learn(self, grants: tuple[ApiKeyGrant, ...], now_s: float) -> None:
        """Replace all keys by those granted now; counts and buckets of known ones stay."""
        self.heard_s = now_s
        if grants == self._grants:
            return
        self._grants = grants
        before, self._keys = self._keys, {}
        for grant in grants:
            digest = bytes.fromhex(grant.digest)
            key = before.get(digest)
            if key is None or key.grant != grant:
                key = self._renewed(key, grant, now_s)
            self._keys[digest] = key

    def _renewed(self, key: ApiKey | None, grant: ApiKeyGrant, now_s: float) -> ApiKey:
        if key is None:
            key = ApiKey(grant, frozenset(), 0.0)
        if key.grant.unblocked_unix_s != grant.unblocked_unix_s:
            key.conduct = Conduct()
        key.conduct.whole_rate.limit(grant.rate_per_s, grant.burst)
        key.conduct.block_until(grant.blocked_until_unix_s)
        key.grant, key.services = grant, frozenset(grant.services)
        key.rank = PRIORITIES.index(grant.priority)
        key.expires_unix_s = inf if grant.expires_unix_s is None else grant.expires_unix_s
        key.limit(self._shares.get(grant.digest, self._share), now_s)
        key.tokens.per_day = grant.tokens_per_day
        if self.day.start_unix_s:
            key.tokens.allow(key.share, self._used_tokens.get(grant.digest, 0))
        return key

    def divide(self, granted: ApiKeyShares, now_s: float) -> None:
        """Set the part of each rate and token budget that this gateway may grant."""
        self._share, self._shares = granted.share, granted.shares
        self._used_tokens = granted.used_tokens
        if granted.day is not None:
            self.day = as_reported(granted.day, now_s)
        for key in self._keys.values():
            digest = key.grant.digest
            newest = self._shares.get(digest, self._share)
            if newest != key.share:
                key.limit(newest, now_s)
            if key.tokens.per_day:
                key.tokens.allow(newest, self._used_tokens.get(digest, 0))

    def begin_day_if_due(self, now_s: float) -> None:
        """Budgets are whole again at midnight, also while the scheduler is away."""
        if now_s >= self.day.end_s:
            self.day, self._used_tokens = self.day.following(), UNUSED
            for key in self._keys.values():
                key.tokens.begin_day(key.share)

    def take_uses(self) -> tuple[ApiKeyUse, ...]:
        """Use of keys since the last call."""
        every = self._keys.values()
        used = (key for key in every if key.requests or key.tokens.counted > 0 or key.energy_uj)
        return tuple(key.take_use() for key in used)

    def every_key(self) -> Iterable[ApiKey]:
        """All of them."""
        return self._keys.values()

    def is_outdated(self, now_s: float) -> bool:
        """True: revocations may have been missed for too long."""
        return now_s - self.heard_s > self.valid_s

    def find(self, secret: bytes, unix_s: float) -> ApiKey | None:
        """The key; None: it is unknown, revoked or expired."""
        return self._valid(sha256(secret).digest(), unix_s)

    def holder(self, digest: str, unix_s: float) -> ApiKey | None:
        """As `find`, for work that a key has begun."""
        return self._valid(bytes.fromhex(digest), unix_s)

    def _valid(self, digest: bytes, unix_s: float) -> ApiKey | None:
        key = self._keys.get(digest, NO_KEY)
        return key if key.expires_unix_s > unix_s else None
