"""Types shared by the HTTP server and its bridge to the loop: requests, answers, the token."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from wattline_protocol.site.model import HttpApi
from wattline_protocol.trust.keys import KeyFileError, read_secret
from wattline_protocol.views.service_views import ListServices
from wattline_protocol.wire.client_messages import Answer, CancelGridEvent, GetPower, GridEvent
from wattline_protocol.wire.codec import Codec

MIN_TOKEN_CHARS = 20

DOOR = b"http-door"
"""Replaces the connection in `ClientRequest` and `Reply`; ZeroMQ's own ids are 5 bytes."""

ApiRequest = GridEvent | CancelGridEvent | GetPower | ListServices
Deliver = Callable[[Answer], None]

_bounds: Codec[ApiRequest] = Codec(ApiRequest)


class ApiUnusable(Exception):
    """The HTTP address cannot be opened; the text names the remedy."""


class Bridge(Protocol):
    """The loop, as seen by the server's thread."""

    def ask(self, request: ApiRequest, reply: Deliver) -> int | None: ...
    def forget(self, number: int) -> None: ...
    def refuse(self, peer: str) -> None: ...


def within_bounds(request: ApiRequest) -> ApiRequest:
    """The request, whose texts and numbers have the bounds of those of other clients. Raises
    MalformedMessage."""
    return _bounds.decode(_bounds.encode(request))


def token_of(api: HttpApi) -> str:
    """Read at every request, so that it can be changed at run time. Raises ApiUnusable."""
    try:
        token = read_secret(Path(api.token_file)).strip()
    except KeyFileError as error:
        raise ApiUnusable(str(error)) from error
    if len(token) < MIN_TOKEN_CHARS:
        raise ApiUnusable(
            f"{api.token_file} holds no token of at least {MIN_TOKEN_CHARS} characters; make one "
            "with: openssl rand -hex 32"
        )
    return token
