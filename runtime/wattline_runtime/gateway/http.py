"""The gateway's HTTP routes."""

import time
from collections.abc import Awaitable, Callable
from functools import lru_cache

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wattline_runtime.gateway.access.check import Access
from wattline_runtime.gateway.answers.answers import Answers
from wattline_runtime.gateway.batches.batch_routes import ROUTES as BATCH_ROUTES
from wattline_runtime.gateway.batches.batch_routes import BatchRoutes
from wattline_runtime.gateway.batches.keeper import BatchKeeper
from wattline_runtime.gateway.config import GatewayConfig
from wattline_runtime.gateway.connections.direct import CLOSE
from wattline_runtime.gateway.errors import STATUS, BadRequest, as_json, headers
from wattline_runtime.gateway.infer import InferApp
from wattline_runtime.gateway.record_streams.stream_app import PATH as STREAM
from wattline_runtime.gateway.record_streams.stream_app import StreamApp
from wattline_runtime.gateway.revisions.compare_route import CompareRoute
from wattline_runtime.gateway.routing.router import Router
from wattline_runtime.gateway.shell import GatewayShell
from wattline_runtime.gateway.streams.openai import METHOD_OF, MODELS, ROUTES, OpenAiApp
from wattline_runtime.gateway.telemetry.prometheus import CONTENT_TYPE, exposition
from wattline_runtime.gateway.telemetry.shared_look import SharedLook
from wattline_runtime.gateway.telemetry.snapshot import Snapshot

Look = Callable[[], Awaitable[Snapshot]]

PREFIX = "/v1/services/"
SUFFIX = "/infer"


def http_app(
    shell: GatewayShell,
    answers: Answers,
    config: GatewayConfig,
    access: Access,
    look: Look,
    batches: BatchKeeper | None = None,
) -> ASGIApp:
    """All routes. The infer route is matched without a router: it is nearly all of the traffic.

    `look`: all processes of the gateway as one.
    """
    router = Router(shell)
    infer = InferApp(shell, answers, config, access, router)
    openai = OpenAiApp(shell, config, access, router)
    stream = StreamApp(shell, answers, config, access)
    compare = CompareRoute(shell, config, access).route
    batch = BatchRoutes(batches, shell, config, access).routes()
    added = [Route(STREAM, stream), compare, *batch]
    others = _other_routes(shell, config, access, look, router, added)

    def app(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        path: str = scope.get("path", "")
        if service := service_of(path):
            scope["path_params"] = {"service": service}
            return infer(scope, receive, send)
        if path in METHOD_OF or path == MODELS or path.startswith(MODELS + "/"):
            return openai(scope, receive, send)

        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start" and shell.is_draining:
                message["headers"] = [*message["headers"], CLOSE]
            await send(message)

        return others(scope, receive, send_last)

    return app


@lru_cache(maxsize=128)
def service_of(path: str) -> str:
    """The service that an infer route is for; empty: it is another route."""
    is_infer = path.startswith(PREFIX) and path.endswith(SUFFIX)
    service = path[len(PREFIX) : -len(SUFFIX)] if is_infer else ""
    return "" if "/" in service else service


def _other_routes(
    shell: GatewayShell,
    config: GatewayConfig,
    access: Access,
    look: Look,
    router: Router,
    added: list[Route],
) -> Starlette:
    shared = SharedLook(look)

    async def all_services() -> bytes:
        return _services_body(await shared.get(), router, None)

    async def page() -> bytes:
        return exposition((await shared.get()).figures)

    every, pages = SharedLook(all_services), SharedLook(page)

    async def services(request: Request) -> Response:
        until_s = time.monotonic() + config.default_timeout_ms / 1000
        key = await access.identify(request.scope, until_s)
        if key is None:
            body = await every.get()
        else:
            body = _services_body(await shared.get(), router, key.services)
        return Response(body, media_type="application/json")

    async def health(_: Request) -> Response:
        stopping = shell.is_draining
        return JSONResponse({"status": "stopping" if stopping else "ok"}, 503 if stopping else 200)

    async def metrics(_: Request) -> Response:
        return Response(await pages.get(), media_type=CONTENT_TYPE)

    app = Starlette(
        routes=[
            Route("/v1/services", services),
            Route("/healthz", health),
            Route("/metrics", metrics),
            *added,
        ],
        exception_handlers={HTTPException: _http_error, BadRequest: _bad_request},
    )
    app.router.redirect_slashes = False  # it would redirect to whatever host the client names
    return app


def _services_body(snapshot: Snapshot, router: Router, seen: frozenset[str] | None) -> bytes:
    """Services, and routes where there are any; `seen`: those that the client may know of."""
    routes = router.listed(seen)
    return msgspec.json.encode(snapshot.as_json(seen) | ({"routes": routes} if routes else {}))


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own refusals (404, 405) in the common error format."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    text = f"{request.method} {request.url.path} is not a route of this gateway"[:500]
    one = f"POST {PREFIX}SERVICE"
    services = f"{one}{SUFFIX}, {one}/stream, {one}/compare, GET /v1/services"
    known = f"{services}, {ROUTES}, {BATCH_ROUTES}, GET /healthz, GET /metrics"
    body = {"error": {"reason": "no_route", "message": f"{text}; routes: {known}"}}
    return JSONResponse(body, status)


async def _bad_request(_: Request, error: Exception) -> Response:
    if not isinstance(error, BadRequest):
        raise error
    return JSONResponse(as_json(error), STATUS[error.reason], dict(headers(error)))
