"""Finds the API key of an HTTP request, or refuses the request."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from math import ceil, isinf

import structlog
from starlette.types import Scope

from wattline_protocol.http.limits import client_key
from wattline_protocol.text.quantities import format_count, format_duration, format_rate
from wattline_protocol.text.wording import counted, listed
from wattline_runtime.gateway.access.abuse import AbuseWatch
from wattline_runtime.gateway.access.conduct import Conduct
from wattline_runtime.gateway.access.failed_keys import FailedKeys
from wattline_runtime.gateway.access.key_ring import ApiKey, ApiKeyRing
from wattline_runtime.gateway.access.token_budget import UNKNOWN_DAY
from wattline_runtime.gateway.client import ASKED, named_headers
from wattline_runtime.gateway.errors import BadRequest

log = structlog.get_logger()

CONDUCT = "wattline.conduct"
"""In the scope of a request: whose conduct it is part of."""

BEARER = b"bearer "
NOTE_PERIOD_S = 10.0
"""Interval of log lines about refused keys."""
MAX_NAMED = 5
"""Services named in a refusal."""
MAX_NOTED = 5


class Access:
    """The check of every request; `ring` None: the gateway is open to all."""

    def __init__(
        self,
        ring: ApiKeyRing | None,
        known: Callable[[float], Awaitable[bool]],
        abuse: AbuseWatch | None = None,
    ) -> None:
        """`known`: wait for the first keys, until a time; False = it came too late. `abuse` None:
        nothing is judged."""
        self._abuse = abuse
        self._ring = ring
        self._known = known
        self.failed = FailedKeys()
        self._noted_s = 0.0

    @property
    def is_early(self) -> bool:
        """True: requests wait for the first keys."""
        return self._ring is not None and self._ring.heard_s < 0

    async def require(self, scope: Scope, service: str, deadline_s: float) -> ApiKey | None:
        """The key of a request for a service; None: the gateway is open. Raises BadRequest."""
        key = await self.identify(scope, deadline_s)
        await self.permit(scope, key, service)
        return key

    async def permit(self, scope: Scope, key: ApiKey | None, service: str) -> None:
        """Count the use of a key, and refuse one that is not for this service. Raises
        BadRequest."""
        scope[ASKED] = (None if key is None else key.grant.name, service)
        if key is None:
            return
        key.used(time.time())
        if service not in key.services:
            key.refused += 1
            own = listed(sorted(key.services), MAX_NAMED) or "no service now"
            text = f"this API key is not for service {service!r}; it is for {own}"
            await self._refuse(scope, BadRequest("forbidden", text[:500]))

    async def identify(self, scope: Scope, deadline_s: float) -> ApiKey | None:
        """The key of a request; None: the gateway is open. Raises BadRequest."""
        ring = self._ring
        if ring is None:
            await self._restrain(scope, None, time.time())
            return None
        if self.is_early and not await self._known(deadline_s):
            raise BadRequest("deadline", "this gateway has not received its API keys in time")
        if ring.is_outdated(time.monotonic()):
            text = f"this gateway has had no news of API keys for {ring.valid_s:.0f} s"
            raise BadRequest("keys_outdated", text, 1)
        unix_s = time.time()
        key = ring.find(_secret(scope), unix_s)
        if key is None:
            text = "no valid API key: it is missing, unknown, expired or revoked"
            hint = "send it as `Authorization: Bearer KEY` or `api-key: KEY`"
            await self._refuse(scope, BadRequest("unauthorized", f"{text}; {hint}"))
        else:
            await self._restrain(scope, key, unix_s)
        return key

    def require_still(self, key: ApiKey | None, service: str) -> None:
        """Refuse to go on with a request whose key was revoked meanwhile. Raises BadRequest."""
        if key is None or self._ring is None:
            return
        found = self._ring.holder(key.grant.digest, time.time())
        if found is None or service not in found.services:
            raise BadRequest("unauthorized", "the API key is no longer valid for this service")

    async def _restrain(self, scope: Scope, key: ApiKey | None, unix_s: float) -> None:
        """Note whose conduct the request is part of; hold it up or refuse it where that was
        abuse."""
        if self._abuse is None:
            return
        conduct = self._abuse.of_address(scope) if key is None else key.conduct
        if conduct is not None and conduct.restrained_until_s > unix_s:
            try:
                await self._abuse.restrain(conduct, unix_s)
            except BadRequest:
                if key is not None:
                    path = scope.get("path_params", {})
                    scope[ASKED] = key.grant.name, path.get("service", "")
                    key.used(unix_s)
                    key.refused += 1
                raise
        scope[CONDUCT] = conduct

    @staticmethod
    def ended(scope: Scope, service: str, reason: str, body: bytes) -> None:
        """A request has ended; `reason` is empty for one with output."""
        conduct: Conduct | None = scope.get(CONDUCT)
        if conduct is None:
            return
        if not reason:
            conduct.answered(service)
            return
        client = scope.get("client")
        conduct.failed(service, reason, body, client[0] if client else "")

    def charge(self, key: ApiKey, inputs: int) -> None:
        """Take the inputs of a request out of the key's rate, if it has tokens left. Raises
        BadRequest."""
        if key.tokens.left <= 0:
            key.inputs += inputs
            key.refused += 1
            day = UNKNOWN_DAY if self._ring is None else self._ring.day
            raise _budget_used_up(key, day.left_s(time.monotonic()))
        wait_s = key.take(inputs, time.monotonic())
        if wait_s:
            raise _rate_limited(key, inputs, wait_s)

    async def _refuse(self, scope: Scope, error: BadRequest) -> None:
        """Raise the refusal, later the more an address has had of them."""
        client = scope.get("client")
        now_s = time.monotonic()
        delay_s = self.failed.delay_s(client_key(client[0]) if client else "", now_s)
        if now_s >= self._noted_s + NOTE_PERIOD_S:
            self._noted_s = now_s
            worst = self.failed.worst(MAX_NOTED)
            log.warning("api_keys_refused", total=self.failed.total, by_address=worst)
        if delay_s:
            await asyncio.sleep(delay_s)
        raise error


def _rate_limited(key: ApiKey, inputs: int, wait_s: float) -> BadRequest:
    grant, share = key.grant, ""
    if key.share < 1:
        share = f"; this gateway grants {key.share:.0%} of it now, by the use at each gateway"
    limit = f"{format_rate(grant.rate_per_s)}, burst {grant.burst} (rate of API key {grant.name})"
    if isinf(wait_s):
        text = f"{counted(inputs, 'input')} at once exceed {limit}{share}"
        return BadRequest("rate_limited", text)
    return BadRequest("rate_limited", f"the limit is {limit}{share}", max(1, ceil(wait_s)))


def _budget_used_up(key: ApiKey, day_left_s: int) -> BadRequest:
    """Refusal until the day is over, or until the next report where other gateways have the
    rest."""
    tokens = key.tokens
    budget = f"{format_count(tokens.per_day)} tokens a day (budget of API key {key.grant.name})"
    limit = f"the limit is {budget}, {tokens.used + tokens.counted_today:,} are used"
    if not tokens.is_used_up:
        part = f"this gateway grants {key.share:.0%} of the rest now, by the use at each gateway"
        return BadRequest("budget_shared_out", f"{limit}; {part}", 1)
    text = f"{limit}; the next day begins in {format_duration(day_left_s)}"
    return BadRequest("budget_used_up", text, day_left_s)


def _secret(scope: Scope) -> bytes:
    """What the client sent as its key; empty = nothing."""
    headers = named_headers(scope)
    found = headers.get(b"api-key")
    if found is None:
        value = headers.get(b"authorization", b"")
        found = value[len(BEARER) :] if value[: len(BEARER)].lower() == BEARER else b""
    return found.strip()  # pasted keys have spaces around them
