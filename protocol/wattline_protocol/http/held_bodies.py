"""Bodies that clients hold back by `Expect: 100-continue` until a server asks for them.

Once it has an answer, a client may leave such a body out (RFC 9110, 10.1.1). The next request on
its connection, of another client where a proxy shares its connections, would be read as that body.
"""

from typing import Any

from wattline_protocol.http.guard import App, Scope

EXPECT = b"expect"
CLOSE = (b"connection", b"close")


def without_held_bodies(app: App) -> App:
    """The application, where an answer that precedes a held body is the last of its connection.

    It comes before all else that answers. uvicorn asks for the body as soon as it is read.
    """

    def checked(scope: Scope, receive: Any, send: Any) -> Any:
        if all(name != EXPECT for name, _ in scope["headers"]):
            return app(scope, receive, send)
        return _last_unless_received(app, scope, receive, send)

    return checked


async def _last_unless_received(app: App, scope: Scope, receive: Any, send: Any) -> None:
    is_held = True

    async def noting() -> Any:
        nonlocal is_held
        message = await receive()
        is_held = False
        return message

    async def closing(message: Any) -> None:
        if is_held and message["type"] == "http.response.start":
            others = [one for one in message.get("headers", ()) if one != CLOSE]
            message = {**message, "headers": [*others, CLOSE]}
        await send(message)

    await app(scope, noting, closing)
