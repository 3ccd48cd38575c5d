"""`POST /v1/services/{service}/infer`: the one route that has to be fast, as a bare ASGI app.

Inputs are checked to be JSON but not decoded: their bytes are passed to the worker unchanged, and
the worker's output bytes are copied into the answer.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from starlette.types import Receive, Scope, Send

from wattline_runtime.gateway.access.check import Access
from wattline_runtime.gateway.access.key_ring import ApiKey
from wattline_runtime.gateway.config import GatewayConfig
from wattline_runtime.gateway.errors import STATUS, BadRequest, as_json, headers
from wattline_runtime.gateway.events import Output, Refusal
from wattline_runtime.gateway.shell import GatewayShell, Waiter
from wattline_runtime.gateway.stats import UNKNOWN_SERVICE

CLOSE = (b"connection", b"close")
WATCH_AFTER_S = 0.05
"""Requests that wait longer than this are watched for a disconnect of their client."""
BODY_TIMEOUT_S = 30.0
"""Time for a client to send its body."""
CLIENT_GONE_STATUS = 499
"""Only counted, never sent: the client has disconnected."""


class InferBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a request: `input` or `inputs`, and optionally a timeout."""

    input: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    inputs: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET
    timeout_ms: int | msgspec.UnsetType = msgspec.UNSET


class ClientDisconnected(Exception):
    """The client disconnected before its answer."""


class Ask(NamedTuple):
    """A parsed request."""

    inputs: list[bytes]
    is_single: bool
    deadline_s: float


class InferApp:
    """ASGI app of the infer route; the service's name is in `path_params`."""

    def __init__(self, shell: GatewayShell, config: GatewayConfig, access: Access) -> None:
        self._shell = shell
        self._config = config
        self._access = access
        self._decoder = msgspec.json.Decoder(InferBody)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, always: with outputs, or with an error and its reason."""
        start_s = time.monotonic()
        service: str = scope["path_params"]["service"]
        try:
            if scope["method"] != "POST":
                raise BadRequest("method", f"{scope['method']} is not allowed here, POST is")
            waits_until_s = start_s + self._timeout_ms(scope) / 1000
            key = await self._access.require(scope, service, waits_until_s)
            ask = self._understand(scope, await self._body(scope, receive), start_s)
            body = await self._answer(service, ask, key, receive)
        except BadRequest as error:
            await self._send_error(send, error)
            self._count(service, STATUS[error.reason], error.reason, start_s)
        except ClientDisconnected:
            self._count(service, CLIENT_GONE_STATUS, "client_gone", start_s)
        else:
            await self._send(send, 200, body)
            self._count(service, 200, "", start_s)

    def _count(self, service: str, status: int, reason: str, start_s: float) -> None:
        known = service in self._shell.gateway.queue.services
        label = service if known else UNKNOWN_SERVICE
        self._shell.stats.count(label, status, reason, time.monotonic() - start_s)

    # --- reading

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        limit = self._config.max_body_bytes
        length = _header(scope, b"content-length")
        if length is not None and length.isdigit() and int(length) > limit:
            raise _too_large(limit)
        message = await receive()
        if not message.get("more_body", False) and message["type"] == "http.request":
            body: bytes = message.get("body", b"")
            if len(body) > limit:
                raise _too_large(limit)
            return body
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                return await _rest_of_body(message, receive, limit)
        except TimeoutError as error:
            text = f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s"
            raise BadRequest("body_too_slow", text) from error

    def _understand(self, scope: Scope, data: bytes, start_s: float) -> Ask:
        try:
            body = self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            expected = 'expected {"input": …} or {"inputs": […]}'
            raise BadRequest("malformed", f"{error}; {expected}") from error
        timeout_ms = self._timeout_ms(scope, body.timeout_ms)
        deadline_s = start_s + timeout_ms / 1000
        if isinstance(body.input, msgspec.Raw) and body.inputs is msgspec.UNSET:
            return Ask([bytes(body.input)], True, deadline_s)
        if body.input is msgspec.UNSET and isinstance(body.inputs, list):
            if not 1 <= len(body.inputs) <= self._config.max_inputs:
                text = f"{len(body.inputs)} inputs; 1 to {self._config.max_inputs} are accepted"
                raise BadRequest("malformed", text)
            return Ask([bytes(raw) for raw in body.inputs], False, deadline_s)
        raise BadRequest("malformed", "expected either `input` or `inputs`")

    def _timeout_ms(self, scope: Scope, given: int | msgspec.UnsetType = msgspec.UNSET) -> int:
        """`given`: in the body, which goes before the header."""
        if isinstance(given, int):
            timeout_ms = given
        elif (text := _header(scope, b"timeout-ms")) is not None:
            if not text.isdigit() or len(text) > 9:
                raise BadRequest("malformed", "header timeout-ms is not a number of milliseconds")
            timeout_ms = int(text)
        else:
            return self._config.default_timeout_ms
        if not 1 <= timeout_ms <= self._config.max_timeout_ms:
            limit = self._config.max_timeout_ms
            raise BadRequest("malformed", f"timeout_ms is {timeout_ms}; 1 to {limit} are accepted")
        return timeout_ms

    # --- answering

    async def _answer(self, service: str, ask: Ask, key: ApiKey | None, receive: Receive) -> bytes:
        seen = None if key is None else key.services
        submit = self._shell.submit
        pending = [submit(service, data, ask.deadline_s, seen) for data in ask.inputs]
        watch = _ClientWatch(self._shell, receive, [request_id for request_id, _ in pending])
        try:
            outputs = await self._collect(pending, ask.is_single)
        finally:
            watch.end()
            for request_id, _ in pending:  # those still open when one input failed
                self._shell.abandon(request_id)
        if ask.is_single:
            return b'{"output":' + outputs[0] + b"}"
        return b'{"outputs":[' + b",".join(outputs) + b"]}"

    async def _collect(self, pending: list[tuple[int, Waiter]], is_single: bool) -> list[bytes]:
        outputs: list[bytes] = []
        for position, (_, waiter) in enumerate(pending):
            outcome = await waiter
            if isinstance(outcome, Output):
                outputs.append(outcome.body)
            elif isinstance(outcome, Refusal):
                where = "" if is_single else f"input {position}: "
                raise BadRequest(outcome.reason, where + outcome.message, outcome.retry_after_s)
            else:
                raise ClientDisconnected
        return outputs

    async def _send_error(self, send: Send, error: BadRequest) -> None:
        extra = [(name.encode(), value.encode()) for name, value in headers(error)]
        await self._send(send, STATUS[error.reason], msgspec.json.encode(as_json(error)), extra)

    async def _send(
        self, send: Send, status: int, body: bytes, extra: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        named = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *extra,
        ]
        if self._shell.is_leaving:
            named.append(CLOSE)
        await send({"type": "http.response.start", "status": status, "headers": named})
        await send({"type": "http.response.body", "body": body})


class _ClientWatch:
    """Detects the disconnect of the client of a slow request, and abandons the request.

    Only slow ones: watching needs a task, and most requests are over before it would start.
    """

    def __init__(self, shell: GatewayShell, receive: Receive, request_ids: list[int]) -> None:
        self._shell = shell
        self._receive = receive
        self._request_ids = request_ids
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(WATCH_AFTER_S, self._start)

    def end(self) -> None:
        """End the watch with the request."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _start(self) -> None:
        self._task = self._loop.create_task(self._run(), name="client-watch")

    async def _run(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        for request_id in self._request_ids:
            self._shell.abandon(request_id)


async def _rest_of_body(first: Any, receive: Receive, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    message = first
    while True:
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return b"".join(chunks)
        message = await receive()


def _header(scope: Scope, name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None


def _too_large(limit: int) -> BadRequest:
    return BadRequest("body_too_large", f"the body exceeds the limit of {limit} bytes")
