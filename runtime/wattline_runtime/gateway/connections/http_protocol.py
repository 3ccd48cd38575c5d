"""uvicorn's protocol class, as the gateway uses it."""

import asyncio
from importlib import import_module
from importlib.util import find_spec
from typing import Any

USED = {
    *(
        "_start_asgi_task",
        "_unset_keepalive_if_required",
        "call_later",
        "flow",
        "is_closing",
        "loop",
    ),
    *("pipeline", "pop", "resume_reading", "server_state", "timeout_keep_alive"),
    *("timeout_keep_alive_handler", "timeout_keep_alive_task", "total_requests", "transport"),
}
"""What uvicorn uses after an answer; no part of its API."""


def http_protocol() -> type[asyncio.Protocol]:
    """That of httptools where it is installed, else of h11: as uvicorn chooses."""
    if find_spec("httptools") is None:
        h11: type[asyncio.Protocol] = import_module("uvicorn.protocols.http.h11_impl").H11Protocol
        return h11
    return without_timers(import_module("uvicorn.protocols.http.httptools_impl").HttpToolsProtocol)


def without_timers(httptools: type[asyncio.Protocol]) -> type[asyncio.Protocol]:
    """uvicorn's class without a timer for each request; unchanged if this release of it does
    anything else after an answer."""
    complete: Any = getattr(httptools, "on_response_complete", None)
    if complete is None or {*complete.__code__.co_names} != USED:
        return httptools
    return type("WithoutTimers", (_WithoutTimers, httptools), {})


class _WithoutTimers:
    """Precedes the class of httptools, whose attributes it uses.

    uvicorn sets a timer after each answer, which ends an idle connection, and cancels it with the
    next request. Here the sweep of the guard ends idle connections (`HttpLimits.idle_s`).
    """

    server_state: Any
    transport: asyncio.Transport
    flow: Any
    pipeline: Any
    _start_asgi_task: Any

    def on_response_complete(self) -> None:
        """As uvicorn, but for the timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
