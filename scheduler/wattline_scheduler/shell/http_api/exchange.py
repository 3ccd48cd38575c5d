"""Types shared by the HTTP server and its bridge to the loop: requests, answers, the token."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from wattline_protocol.site.model import HttpDoor
from wattline_protocol.trust.keys import KeyFileError, read_secret
from wattline_protocol.wire.client_messages import Answer, CancelGridEvent, GetPower, GridEvent

MIN_TOKEN_CHARS = 20

DoorRequest = GridEvent | CancelGridEvent | GetPower
Tell = Callable[[Answer], None]


class DoorUnusable(Exception):
    """The HTTP address cannot be opened; the text names the remedy."""


class Bridge(Protocol):
    """The loop, as seen by the server's thread."""

    def ask(self, request: DoorRequest, tell: Tell) -> int | None: ...
    def forget(self, number: int) -> None: ...
    def refuse(self, peer: str) -> None: ...


def token_of(door: HttpDoor) -> str:
    """Read at every request, so that it can be changed at run time. Raises DoorUnusable."""
    try:
        token = read_secret(Path(door.token_file)).strip()
    except KeyFileError as error:
        raise DoorUnusable(str(error)) from error
    if len(token) < MIN_TOKEN_CHARS:
        raise DoorUnusable(
            f"{door.token_file} holds no token of at least {MIN_TOKEN_CHARS} characters; make one "
            "with: openssl rand -hex 32"
        )
    return token
