"""API keys of HTTP clients: requests of users, grants and reports of gateways, division of rates.

The secret is made by the client that adds the key, and never sent: the scheduler and the gateways
know its SHA-256 only.
"""

from collections.abc import Collection, Iterable
from typing import Annotated, Literal

import msgspec

from wattline_protocol.ids import UnixTime
from wattline_protocol.text.quantities import MAX_RATE_PER_S, MAX_TALLY
from wattline_protocol.wire.bounds import Count, Few, Many, Name, Seconds, Time

PREFIX = "wl_"
"""Of every key, so that secret scanners find it; 32 random bytes in URL-safe Base64 follow."""

Digest = Annotated[str, msgspec.Meta(min_length=64, max_length=64, pattern=r"\A[0-9a-f]{64}\Z")]
"""SHA-256 of a key, in hexadecimal."""

Rate = Annotated[float, msgspec.Meta(ge=0.0, le=MAX_RATE_PER_S)]
"""Per second."""

Tokens = Annotated[int, msgspec.Meta(ge=0, le=MAX_TALLY)]
"""Of prompts and completions."""

Microjoules = Annotated[int, msgspec.Meta(ge=0, le=10**18)]
"""A terajoule: of a site of a gigawatt in a quarter of an hour."""

KeyState = Literal["ok", "slowed", "blocked"]

PriorityClass = Literal["urgent", "normal", "batch"]
"""Of a request to a service."""


class AddApiKey(msgspec.Struct, frozen=True, tag_field="t", tag="add_api_key"):
    """Let the holder of a key send requests to services. A repeat has no further effect."""

    name: Name[str]
    digest: Digest
    services: Few[Name[str]]
    rate_per_s: Rate = 0.0
    """Inputs per second over all gateways; 0 = no limit."""
    burst: Count[int] = 0
    """Inputs at once; 0 = those of one second, at least 1."""
    valid_s: Seconds = 0.0
    """0 = until revoked."""
    priority: PriorityClass = "normal"
    """The highest class of its requests."""
    tier: Name[str] = ""
    """Label that rules of routes compare; empty = none."""
    tokens_per_day: Tokens = 0
    """Over all gateways; 0 = no limit."""


class RevokeApiKey(msgspec.Struct, frozen=True, tag_field="t", tag="revoke_api_key"):
    """Accept the key no longer, at any gateway."""

    name: Name[str]


class ListApiKeys(msgspec.Struct, frozen=True, tag_field="t", tag="list_api_keys"):
    """Keys that are not revoked: a submitter's own ones, all for operators."""


class ApiKeyUse(msgspec.Struct, frozen=True):
    """Use of a key at one gateway since its last report."""

    digest: Digest
    requests: Count[int]
    refused: Count[int]
    """Those of them that the key's services or limits did not admit."""
    inputs: Count[int]
    """Asked for; a request may have several."""
    newest_unix_s: Time[UnixTime]
    """Time of the newest request."""
    tokens: Tokens = 0
    """Counted since the last report."""
    tokens_today: Tokens = 0
    """Those of them since the day of the report began."""
    energy_uj: Microjoules = 0
    """Of the answers since the last report, as workers measured it."""


class ReportApiKeyUse(msgspec.Struct, frozen=True, tag_field="t", tag="report_api_key_use"):
    """Gateway only: the keys that were used, about once a second; answered by ApiKeyShares."""

    report: Name[str]
    """Unique per report: one that is repeated because its answer was lost counts once."""
    uses: Many[ApiKeyUse]
    day_unix_s: Time[UnixTime] = UnixTime(0.0)
    """Start of the day that `tokens_today` are of; 0 = the gateway knows of none yet."""


class UnblockApiKey(msgspec.Struct, frozen=True, tag_field="t", tag="unblock_api_key"):
    """Accept a key again that gateways block or slow, at all of them."""

    name: Name[str]


class AbuseEvidence(msgspec.Struct, frozen=True):
    """Requests of a key or an address within a minute, and those that count against it."""

    requests: Count[int]
    refused: Count[int]
    failed: Count[int]
    repeated: Count[int]
    oversize: Count[int]
    address: Name[str] = ""
    """Where the newest of these came from."""

    @property
    def text(self) -> str:
        """The counts, without the address."""
        kinds = {
            "refused": self.refused,
            "failed": self.failed,
            "repeated after a failure": self.repeated,
            "too large": self.oversize,
        }
        parts = ", ".join(f"{count:,} {name}" for name, count in kinds.items() if count)
        return f"{self.requests:,} requests within a minute: {parts}"


class Restraint(msgspec.Struct, frozen=True):
    """A key or an address that a gateway slows or blocks."""

    subject: Name[str]
    """Digest of the key, or the address."""
    is_key: bool
    is_blocked: bool
    """Otherwise it is slowed."""
    age_s: Seconds
    left_s: Seconds
    evidence: AbuseEvidence


class ReportAbuse(msgspec.Struct, frozen=True, tag_field="t", tag="report_abuse"):
    """Gateway only: what it slows or blocks by its own judgement, each second while it does."""

    restraints: Few[Restraint]


ApiKeyRequest = (
    AddApiKey | RevokeApiKey | UnblockApiKey | ListApiKeys | ReportApiKeyUse | ReportAbuse
)


class BudgetDay(msgspec.Struct, frozen=True):
    """The day of token budgets, in the site's time zone."""

    start_unix_s: UnixTime
    length_s: float
    left_s: float


class ApiKeyShares(msgspec.Struct, frozen=True, tag_field="t", tag="api_key_shares"):
    """Part of each key's rate, and of what is left of its token budget, that a gateway may grant,
    from 0 to 1."""

    share: float
    """Of keys that are not in `shares`."""
    shares: dict[str, float] = {}
    """By digest, of the keys that are in use."""
    day: BudgetDay | None = None
    used_tokens: dict[str, int] = {}
    """By digest, of keys with a budget: tokens of the day at all gateways."""


EVEN_SHARE = 0.1
"""Part of a rate that is divided evenly."""

HALF_LIFE_S = 1.0
"""Of demand."""

LEAST_PER_S = 0.001
"""Less demand is none."""


class KeyDemand(msgspec.Struct):
    """Inputs per second that one gateway, or one process of it, was asked for lately, and the part
    of each rate that it may grant."""

    at_s: float
    """Of the newest report."""
    per_s: dict[str, float] = {}
    """By digest of the key."""
    share: float = 0.0
    """Part granted of keys that are not in `shares`."""
    shares: dict[str, float] = {}
    """Parts granted, by digest."""

    def add(self, uses: Iterable[ApiKeyUse], now_s: float) -> None:
        """A report; earlier ones count less the older they are."""
        passed_s = max(now_s - self.at_s, HALF_LIFE_S)
        kept = 0.5 ** (passed_s / HALF_LIFE_S)
        per_s = {digest: rate * kept for digest, rate in self.per_s.items()}
        for one in uses:
            per_s[one.digest] = per_s.get(one.digest, 0.0) + (1 - kept) * one.inputs / passed_s
        self.per_s = {digest: rate for digest, rate in per_s.items() if rate >= LEAST_PER_S}
        self.at_s = now_s

    def grant(self, digests: Iterable[str], others: Collection["KeyDemand"], count: int) -> None:
        """Grants its parts as one of `count`: of each rate a tenth evenly, the rest in proportion
        to demand, but no more than the parts of `others` leave.

        Another one gives up its part at its own report, so a rising part waits for it. Only the
        even part is granted at once: while the nth is new, it adds EVEN_SHARE / n to the whole.
        """
        even = EVEN_SHARE / count
        free = 1 - sum(one.share for one in others)
        shares = {}
        for digest in digests:
            own_per_s = self.per_s.get(digest, 0.0)
            total_per_s = own_per_s + sum(one.per_s.get(digest, 0.0) for one in others)
            in_use = own_per_s / total_per_s if total_per_s else 1 / count
            left = 1 - sum(one.shares.get(digest, one.share) for one in others)
            shares[digest] = max(even, min(even + (1 - EVEN_SHARE) * in_use, left))
        self.share, self.shares = max(even, min(1 / count, free)), shares


class ApiKeyView(msgspec.Struct, frozen=True):
    """An API key without its secret."""

    name: str
    owner: str
    services: tuple[str, ...]
    rate_per_s: float
    burst: int
    """Both 0 = no limit."""
    made_unix_s: UnixTime
    expires_unix_s: UnixTime | None
    """None = never."""
    is_expired: bool
    priority: PriorityClass = "normal"
    requests: int = 0
    """As reported by gateways, as the next two."""
    refused: int = 0
    used_unix_s: UnixTime | None = None
    """None = never."""
    tier: str = ""
    tokens_per_day: int = 0
    """0 = no limit."""
    tokens: int = 0
    """As reported by gateways, as the next one."""
    tokens_today: int = 0
    joules: float | None = None
    """Energy of the answers, without idle energy; None: none was measured."""
    state: KeyState = "ok"
    blocked_until_unix_s: UnixTime | None = None
    abuse: str = ""
    """Evidence for its block, or why it is slowed."""


class ApiKeys(msgspec.Struct, frozen=True, tag_field="t", tag="api_keys"):
    keys: tuple[ApiKeyView, ...]


class ApiKeyGrant(msgspec.Struct, frozen=True):
    """A key for gateways, without its secret."""

    name: Name[str]
    digest: Digest
    services: Few[Name[str]]
    """Those that its owner may use now."""
    rate_per_s: Rate = 0.0
    burst: Count[int] = 0
    expires_unix_s: Time[UnixTime] | None = None
    priority: PriorityClass = "normal"
    """The highest class of its requests."""
    tier: Name[str] = ""
    tokens_per_day: Tokens = 0
    blocked_until_unix_s: Time[UnixTime] = UnixTime(0.0)
    """0 = it is not blocked."""
    unblocked_unix_s: Time[UnixTime] = UnixTime(0.0)
    """When it was unblocked last: a gateway forgets its own judgement of before."""
