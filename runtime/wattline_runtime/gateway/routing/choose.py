"""Which rule of a route a request meets. No I/O: a request is read through `RequestProperties`."""

from hashlib import blake2b
from typing import Protocol

from wattline_protocol.routing.model import SHARES, PublicRoute, RouteRule


class RequestProperties(Protocol):
    """Properties of a request that rules compare; each is read when a rule needs it."""

    inputs: int
    body_bytes: int
    tier: str
    """Of its API key; empty = none."""

    def header(self, name: str) -> str | None:
        """Value of a header; None: it has none."""

    def field(self, path: str) -> str | None:
        """Value of a field of its body, as JSON; None: it has none."""

    def place(self, route: PublicRoute) -> int:
        """Its place among the thousandths of the requests."""


def choose(route: PublicRoute, request: RequestProperties) -> int:
    """Number of the first rule that the request meets, from 1; 0: none, the default."""
    taken = 0
    for number, rule in enumerate(route.rules, 1):
        if _meets(rule, request) and _shares(route, rule, taken, request):
            return number
        taken += rule.share_permille
    return 0


def place_of(route: str, text: str) -> int:
    """The same place for the same text, evenly over many texts."""
    digest = blake2b(f"{route}\0{text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % SHARES


def _shares(route: PublicRoute, rule: RouteRule, taken: int, request: RequestProperties) -> bool:
    return not rule.share_permille or 0 <= request.place(route) - taken < rule.share_permille


def _meets(rule: RouteRule, request: RequestProperties) -> bool:
    """Whether it meets all conditions but the share; the cheap ones first."""
    return (
        rule.min_inputs <= request.inputs
        and (not rule.max_inputs or request.inputs <= rule.max_inputs)
        and rule.min_body_bytes <= request.body_bytes
        and (not rule.max_body_bytes or request.body_bytes <= rule.max_body_bytes)
        and (not rule.tiers or request.tier in rule.tiers)
        and all(request.header(name) in texts for name, texts in rule.headers.items())
        and all(request.field(path) in texts for path, texts in rule.fields.items())
    )
