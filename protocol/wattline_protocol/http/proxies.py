"""Clients behind trusted proxies, limited like those that connect themselves."""

from collections.abc import Sequence
from typing import Any

from wattline_protocol.http.guard import App, HttpGuard, Scope, refusal_body
from wattline_protocol.http.limits import Network, client_key, forwarded_for, is_within

FORWARDED = b"x-forwarded-for"


def behind_proxies(app: App, guard: HttpGuard) -> App:
    """The application, with the client named by a trusted proxy as `scope["client"]`.

    Requests of one client through proxies are limited as its connections would be.
    """

    async def forwarded(scope: Scope, receive: Any, send: Any) -> None:
        client = _client_behind(scope, guard.trusted)
        if client is None:
            await app(scope, receive, send)
            return
        scope["client"] = (client, 0)
        key = client_key(client)
        if not guard.enter(key):
            await _send_refusal(send, "too many requests of this address are open")
            return
        try:
            await app(scope, receive, send)
        finally:
            guard.leave(key)

    return forwarded if guard.trusted else app


def _client_behind(scope: Scope, trusted: Sequence[Network]) -> str | None:
    peer = scope.get("client")
    if peer is None or not is_within(str(peer[0]), trusted):
        return None
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == FORWARDED]
    return forwarded_for(values, trusted)


async def _send_refusal(send: Any, text: str) -> None:
    body = refusal_body("too_many_connections", text)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", b"1"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})
