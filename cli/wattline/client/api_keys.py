"""API keys of HTTP clients."""

import hashlib
import secrets

import msgspec

from wattline.client.asking import RequestClient
from wattline.client.jobacts import Words, words
from wattline_protocol.wire.api_keys import (
    PREFIX,
    AddApiKey,
    ApiKeys,
    ApiKeyView,
    ListApiKeys,
    PriorityClass,
    RevokeApiKey,
    UnblockApiKey,
)


class NewApiKey(msgspec.Struct, frozen=True):
    """A key with its secret, which is stored nowhere else."""

    name: str
    key: str
    text: str
    """For people: what it opens."""


class ApiKeyActs(RequestClient):
    """Acts on API keys. The secret is made here, of 256 random bits: what the scheduler does not
    have, no log, backup or message of it can disclose."""

    def add_api_key(
        self,
        name: str,
        services: Words,
        *,
        rate_per_s: float = 0.0,
        burst: int = 0,
        valid_s: float = 0.0,
        priority: PriorityClass = "normal",
        tokens_per_day: int = 0,
        tier: str = "",
    ) -> NewApiKey:
        """Make a key for services and routes; it is on disk when this returns. 0 = no limit;
        without `burst` the inputs of one second may arrive at once."""
        secret = PREFIX + secrets.token_urlsafe(32)
        digest = hashlib.sha256(secret.encode()).hexdigest()
        request = AddApiKey(
            name=name,
            digest=digest,
            services=words(services),
            rate_per_s=rate_per_s,
            burst=burst,
            valid_s=valid_s,
            priority=priority,
            tokens_per_day=tokens_per_day,
            tier=tier,
        )
        return NewApiKey(name, secret, self.act(request))

    def revoke_api_key(self, name: str) -> str:
        """Accept the key no longer: within a second at each gateway that the scheduler reaches."""
        return self.act(RevokeApiKey(name))

    def unblock_api_key(self, name: str) -> str:
        """Accept a key again that gateways block or slow for abuse."""
        return self.act(UnblockApiKey(name))

    def api_keys(self) -> tuple[ApiKeyView, ...]:
        """Keys that are not revoked: your own, all for operators."""
        return self.get(ListApiKeys(), ApiKeys).keys
