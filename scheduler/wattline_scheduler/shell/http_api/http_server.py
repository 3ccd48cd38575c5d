"""The HTTP server of the API. Loaded only where the site file has [http].

Routes: POST /v1/grid-events announces one, GET lists those that are not over, DELETE
/v1/grid-events/ID cancels one, GET /metrics shows services to Prometheus. Every request carries the
token. A caller can cost the scheduler no
more than a bounded number of small requests.
"""

import asyncio
import hmac
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec
import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from wattline_protocol.http.guard import HttpGuard, Reason, guarded
from wattline_protocol.http.held_bodies import without_held_bodies
from wattline_protocol.http.limits import HttpLimits
from wattline_protocol.http.server import GuardedServer
from wattline_protocol.site.model import HttpApi
from wattline_protocol.views.service_views import ListServices, Services
from wattline_protocol.wire.client_messages import Answer, CancelGridEvent, Denied, GetPower
from wattline_protocol.wire.codec import MalformedMessage
from wattline_scheduler.shell.http_api.exchange import (
    ApiRequest,
    ApiUnusable,
    Bridge,
    token_of,
    within_bounds,
)
from wattline_scheduler.shell.http_api.json_forms import (
    MAX_BODY_BYTES,
    BadForm,
    error_body,
    grid_event,
    reply_to,
)
from wattline_scheduler.shell.http_api.service_metrics import CONTENT_TYPE, exposition

PATH, METRICS = "/v1/grid-events", "/metrics"
KNOWN = f"POST {PATH}, GET {PATH}, DELETE {PATH}/ID, GET {METRICS}"

LIMITS = HttpLimits(
    head_bytes=16 * 1024,
    body_bytes=MAX_BODY_BYTES,
    connections=32,
    connections_per_address=16,
)
BODY_WITHIN_S = 10.0
ANSWER_WITHIN_S = 10.0
KEEP_ALIVE_S = 30
STOP_WITHIN_S = 2.0
LAST = {"connection": "close"}
"""Sent with an answer to a body that is not read to its end: the guard closes such a connection,
and a client without this header would send its next request on it."""
REFUSALS_LOGGED_EVERY_S = 10.0

log = structlog.get_logger()

Handler = Callable[[Request], Awaitable[Response]]


def _note_refused(reasons: dict[Reason, int], address: str) -> None:
    log.warning("http_clients_refused", newest_address=address, **reasons)


class _Server(GuardedServer, uvicorn.Server):
    """The server with its settings."""


class HttpServer:
    """Serves in a thread of its own, from `start` to `stop`."""

    def __init__(self, bridge: Bridge, api: HttpApi, listener: socket.socket) -> None:
        guard = HttpGuard(LIMITS, note=_note_refused)
        self._server = _Server(
            uvicorn.Config(
                without_held_bodies(api_app(bridge, api)),
                interface="asgi3",
                http=guarded(H11Protocol, guard),
                loop="asyncio",
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                log_level="error",  # its warnings are of clients, which could fill the log
                server_header=False,
                date_header=False,
                proxy_headers=False,
                h11_max_incomplete_event_size=LIMITS.head_bytes,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=1,
            ),
            (listener,),
            guard,
        )
        self._thread = threading.Thread(target=self._run, name="http-door", daemon=True)

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[]))

    def start(self) -> None:
        """Start to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Close open connections; a request is on disk or was not answered."""
        self._server.should_exit = True
        self._thread.join(STOP_WITHIN_S)


def api_app(bridge: Bridge, api: HttpApi) -> Starlette:
    """The routes."""
    guard = _Guard(api, bridge)
    app = Starlette(
        routes=[
            Route(PATH, guard(_add(bridge)), methods=["POST"]),
            Route(PATH, guard(_list(bridge)), methods=["GET"]),
            Route(f"{PATH}/{{id}}", guard(_cancel(bridge)), methods=["DELETE"]),
            Route(METRICS, guard(_metrics(bridge)), methods=["GET"]),
        ],
        exception_handlers={HTTPException: _no_route},
    )
    app.router.redirect_slashes = False  # it would redirect to whatever host the client names
    return app


class _Guard:
    """Admits requests with the token; invalid ones are logged at a limited rate."""

    def __init__(self, api: HttpApi, bridge: Bridge) -> None:
        self._api = api
        self._bridge = bridge
        self._refused = 0
        self._logged_at = -REFUSALS_LOGGED_EVERY_S

    def __call__(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            refusal = self._refusal(request)
            return await handler(request) if refusal is None else refusal

        return guarded

    def _refusal(self, request: Request) -> Response | None:
        try:
            token = token_of(self._api)
        except ApiUnusable as error:
            log.warning("http_door_unusable", reason=str(error))
            return _error(503, "unavailable", "the scheduler cannot read its token; see its log")
        shown = request.headers.get("authorization", "")
        if hmac.compare_digest(shown.encode(), f"Bearer {token}".encode()):
            return None
        self._count(request)
        text = "missing or wrong token: send Authorization: Bearer TOKEN"
        return _error(401, "not_allowed", text, {"www-authenticate": "Bearer"})

    def _count(self, request: Request) -> None:
        self._refused += 1
        peer = request.client.host if request.client else "unknown"
        self._bridge.refuse(peer)
        now_s = time.monotonic()
        if now_s - self._logged_at >= REFUSALS_LOGGED_EVERY_S:
            self._logged_at = now_s
            log.warning("http_refused", peer=peer, refused=self._refused)


def _add(bridge: Bridge) -> Handler:
    async def add(request: Request) -> Response:
        try:
            async with asyncio.timeout(BODY_WITHIN_S):
                body = await _body(request)
        except TimeoutError:
            text = f"the body did not come within {BODY_WITHIN_S:g} s"
            return _error(408, "bad_request", text, LAST)
        if body is None:
            text = f"a grid event has at most {MAX_BODY_BYTES} bytes"
            return _error(413, "bad_request", text, LAST)
        try:
            asked = grid_event(body, time.time())
        except BadForm as error:
            return _error(400, "bad_request", str(error))
        return await _asked(bridge, asked)

    return add


async def _body(request: Request) -> bytes | None:
    """The body; None: too large, and not read to its end."""
    body = b""
    with suppress(ClientDisconnect):  # then the client does not read the answer either
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_BODY_BYTES:
                return None
    return body


def _list(bridge: Bridge) -> Handler:
    async def listed(_: Request) -> Response:
        return await _asked(bridge, GetPower())

    return listed


def _cancel(bridge: Bridge) -> Handler:
    async def cancel(request: Request) -> Response:
        return await _asked(bridge, CancelGridEvent(request.path_params["id"], "by HTTP"))

    return cancel


def _metrics(bridge: Bridge) -> Handler:
    async def metrics(_: Request) -> Response:
        answer = await _answer(bridge, ListServices())
        if not isinstance(answer, Services):
            return _shown(answer)
        body = await asyncio.to_thread(_exposed, answer)
        return Response(body, media_type=CONTENT_TYPE)

    return metrics


def _exposed(answer: Services) -> bytes:
    """Its rows are encoded already, as for other clients."""
    found = msgspec.msgpack.decode(msgspec.msgpack.encode(answer), type=Services)
    return exposition(found.services)


async def _asked(bridge: Bridge, request: ApiRequest) -> Response:
    return _shown(await _answer(bridge, request))


def _shown(answer: Answer | Response) -> Response:
    if isinstance(answer, Response):
        return answer
    status, body = reply_to(answer)
    return JSONResponse(body, status)


async def _answer(bridge: Bridge, request: ApiRequest) -> Answer | Response:
    """The scheduler's answer; a response where it gives none."""
    try:
        request = within_bounds(request)
    except MalformedMessage as error:
        return Denied("bad_request", str(error))
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[Answer] = loop.create_future()

    def settle(answer: Answer) -> None:
        if not waiter.done():
            waiter.set_result(answer)

    def reply(answer: Answer) -> None:
        with suppress(RuntimeError):  # the server has stopped: no request waits any more
            loop.call_soon_threadsafe(settle, answer)

    number = bridge.ask(request, reply)
    if number is None:
        return _error(503, "busy", "too many queued requests; retry later", {"retry-after": "1"})
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            return await waiter
    except TimeoutError:
        text = "the scheduler did not answer; the same event may be sent again"
        return _error(503, "unavailable", text, {"retry-after": "1"})
    finally:
        bridge.forget(number)


def _error(
    status: int, reason: str, message: str, headers: dict[str, str] | None = None
) -> Response:
    return JSONResponse(error_body(reason, message), status, headers)


async def _no_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    path = f"{request.method} {request.url.path}"[:200]
    return _error(status, "no_route", f"{path} is not a route; routes: {KNOWN}")
