"""A route after parsing and validation. See `routing.file` for its text form."""

from typing import Annotated

import msgspec

from wattline_protocol.wire.bounds import Bytes, Count, Few, Name, Table, Word

MAX_RULES = 64
MAX_CONDITIONS = 8
"""Headers of a rule, and fields."""
MAX_VALUES = 64
"""Of one condition."""
MAX_INPUTS = 1_000_000
MAX_BODY_BYTES = 2**40
MAX_ROUTE_BYTES = 16 * 1024
"""Of a route in a message: gateways get all routes in one."""
SHARES = 1_000
"""Shares are whole thousandths of the requests."""
API_KEY = "api-key"
"""`PublicRoute.sticky` that names the API key, however it is sent."""
CONFIDENCE = "confidence"

Rules = Annotated[tuple["RouteRule", ...], msgspec.Meta(max_length=MAX_RULES)]


class RouteTarget(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Target of a rule: one service, or a cascade of two."""

    services: Few[Name[str]]
    """Of a cascade: the small one, then the large one."""
    limit: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.0
    """Of a cascade: the large one answers where the confidence of the small one is below it."""
    confidence: Word[str] = CONFIDENCE
    """Path of the confidence in an output of the small one."""

    @property
    def is_cascade(self) -> bool:
        """Whether an answer of the first service may be replaced."""
        return len(self.services) > 1


class RouteRule(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Conditions, all of which a request must meet, and what answers it."""

    target: RouteTarget
    min_inputs: Count[int] = 0
    max_inputs: Count[int] = 0
    """0 = no limit, as the next one."""
    min_body_bytes: Bytes = 0
    max_body_bytes: Bytes = 0
    headers: Table[Name[str], Few[Word[str]]] = {}
    """Values by name in lower case, any of which it has."""
    fields: Table[Word[str], Few[Word[str]]] = {}
    """Values by path in the body, as JSON."""
    tiers: Few[Name[str]] = ()
    """Of its API key, any of these; empty = all."""
    share_permille: Annotated[int, msgspec.Meta(ge=0, le=SHARES)] = 0
    """Share of all requests of the route; 0 = all. Shares of a route do not overlap."""


class PublicRoute(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A public name over services: the first rule that a request meets says which one answers."""

    name: Name[str]
    rules: Rules = ()
    default: RouteTarget | None = None
    """Target of requests that meet no rule; None: there is no such request."""
    sticky: Name[str] = ""
    """Header whose value decides the shares that a request belongs to; empty: each by itself."""

    @property
    def targets(self) -> tuple[RouteTarget, ...]:
        """Those of the rules in order, then the default."""
        last = () if self.default is None else (self.default,)
        return (*(rule.target for rule in self.rules), *last)

    @property
    def services(self) -> tuple[str, ...]:
        """All services behind it, each once."""
        return tuple(dict.fromkeys(name for one in self.targets for name in one.services))

    def target_of(self, number: int) -> RouteTarget | None:
        """Target of a rule by its number, from 1; 0: the default. None: there is no such rule."""
        if number == 0:
            return self.default
        return self.rules[number - 1].target if number <= len(self.rules) else None


class SiteRoute(msgspec.Struct, frozen=True):
    """A route of the site file."""

    route: PublicRoute
    users: tuple[str, ...] = ()
    """Users that may make API keys for it, besides operators."""


def share_starts(route: PublicRoute) -> tuple[int, ...]:
    """For each rule where its share begins, in thousandths of the requests."""
    starts, taken = [], 0
    for rule in route.rules:
        starts.append(taken)
        taken += rule.share_permille
    return tuple(starts)
