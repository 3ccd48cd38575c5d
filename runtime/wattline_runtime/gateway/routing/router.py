"""Chooses what answers a request to a route, counts it, and names it in the answer."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from starlette.types import Scope

from wattline_protocol.routing.model import API_KEY, PublicRoute, RouteTarget
from wattline_runtime.gateway.access.key_ring import ApiKey
from wattline_runtime.gateway.client import header
from wattline_runtime.gateway.errors import BadRequest
from wattline_runtime.gateway.routing.cascade import Part
from wattline_runtime.gateway.routing.choose import choose, place_of
from wattline_runtime.gateway.routing.json_path import JsonDocument
from wattline_runtime.gateway.shell import GatewayShell
from wattline_runtime.gateway.stats import CASCADE_ENDS, CascadeEnd

ROUTED = "wattline.routed"
"""In the scope of a request to a route, for the access log: number of the rule, and the service."""
SERVICE = b"wattline-service"
CASCADE = b"wattline-cascade"
HeaderPair = tuple[bytes, bytes]


class Choice(NamedTuple):
    """The rule that a request meets, and its target."""

    route: str
    rule: int
    """From 1; 0: the default."""
    target: RouteTarget

    @property
    def service(self) -> str:
        """The one that is properties first."""
        return self.target.services[0]


@dataclass(slots=True)
class HttpRequestProperties:
    """A request as rules read it."""

    inputs: int
    body_bytes: int
    tier: str
    _scope: Scope
    _body: JsonDocument
    _key: ApiKey | None
    _number: str
    """Of this request alone."""

    def header(self, name: str) -> str | None:
        """Its first value."""
        return header(self._scope, name.encode())

    def field(self, path: str) -> str | None:
        """As JSON."""
        return self._body.text_at(path)

    def place(self, route: PublicRoute) -> int:
        """By the sticky header; a request without it is by itself."""
        text: str | None = None
        if route.sticky == API_KEY:
            text = None if self._key is None else self._key.grant.digest
        elif route.sticky:
            text = self.header(route.sticky)
        return place_of(route.name, self._number if text is None else text)


def with_model(data: bytes, service: str) -> bytes:
    """A body of OpenAI's routes for a service of the route: servers behind a bridge check the
    name. Raises BadRequest."""
    try:
        body = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as error:  # a name that is no UTF-8, which a decoder of some skips
        raise BadRequest("malformed", str(error)) from error
    body["model"] = msgspec.Raw(msgspec.json.encode(service))
    return msgspec.json.encode(body)


class Router:
    """Routes of this gateway. All methods run on the loop's thread."""

    def __init__(self, shell: GatewayShell) -> None:
        self._shell = shell
        self._seed, self._count = secrets.token_hex(8), 0

    async def wait(self, until_s: float) -> None:
        """Wait for the first routes: before them no name is known. Raises BadRequest."""
        shell = self._shell
        if not await shell.wait_for_routes(until_s) and not shell.gateway.queue.is_stopping:
            raise BadRequest("deadline", "this gateway has not received its routes in time")

    def choose(
        self, route: PublicRoute, scope: Scope, data: bytes, inputs: int, key: ApiKey | None
    ) -> Choice:
        """Choose the target of this request. Raises BadRequest where it does not exist."""
        self._count += 1
        tier = "" if key is None else key.grant.tier
        number = f"{self._seed}{self._count}"
        properties = HttpRequestProperties(
            inputs, len(data), tier, scope, JsonDocument(data), key, number
        )
        rule = choose(route, properties)
        target = route.target_of(rule)
        if target is None:  # a source of routes other than the scheduler: it checks them
            raise BadRequest("no_service", f"no rule of route {route.name} matches this request")
        choice = Choice(route.name, rule, target)
        self._shell.stats.routed[route.name, rule, choice.service] += 1
        scope[ROUTED] = rule, choice.service
        if not any(map(self._exists, target.services)):
            text = f"route {route.name} leads to {' and '.join(target.services)}: no such service"
            raise BadRequest("no_service", text)
        return choice

    def listed(self, seen: frozenset[str] | None) -> list[dict[str, object]]:
        """Routes as in `GET /v1/services`; `seen`: those that the client may know of."""
        shell = self._shell
        return [
            {"name": name, "owner": shell.owners.get(name, ""), "services": route.services}
            for name, route in sorted(shell.public.items())
            if seen is None or name in seen
        ]

    def _exists(self, name: str) -> bool:
        service = self._shell.gateway.queue.services.get(name)
        return service is not None and service.is_listed

    def of_stream(self, choice: Choice) -> str:
        """The service that answers a stream, which cannot be judged before its end: of a cascade
        the large one, if it exists."""
        *_, last = filter(self._exists, choice.target.services)
        return last

    def cascaded(
        self, choice: Choice, scope: Scope, ended: Iterable[tuple[Part, CascadeEnd | None]]
    ) -> list[HeaderPair]:
        """Headers of an answer of a cascade, which is counted by input; of several inputs with the
        last of the ends."""
        parts, ends = zip(*ended, strict=True)
        for end in ends:
            if end is not None:
                self._shell.stats.cascades[choice.route, choice.rule, end] += 1
        found = self.answered(scope, choice, [part.by for part in parts if part.by])
        known = [CASCADE_ENDS.index(end) for end in ends if end is not None]
        return [*found, (CASCADE, CASCADE_ENDS[max(known)].encode())] if known else found

    def answered(self, scope: Scope, choice: Choice, by: Iterable[str]) -> list[HeaderPair]:
        """Header that names what answered, each once in the order of the inputs."""
        names = list(dict.fromkeys(by)) or [choice.service]
        if len(names) == 1 and self._exists(names[0]):
            scope[ROUTED] = choice.rule, names[0]
        return [(SERVICE, ", ".join(names).encode())]
