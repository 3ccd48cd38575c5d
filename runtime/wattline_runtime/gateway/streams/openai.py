"""OpenAI's routes: chat, completions, embeddings and models. `model` of the body is the service.

Bodies go to the worker and back unchanged; only `model` and `stream` are read here. A stream is
server-sent events. Its status is sent with its first chunk, so that a request that cannot be
answered still gets its own; what fails after that ends the stream with an `error` event.
"""

import time
from collections.abc import Sequence

import msgspec
from starlette.types import Receive, Scope, Send

from wattline_runtime.gateway.access.check import Access
from wattline_runtime.gateway.access.key_ring import ApiKey
from wattline_runtime.gateway.access.priority import rank_of
from wattline_runtime.gateway.answers.joules import joules_header
from wattline_runtime.gateway.client import (
    TOKENS,
    ClientDisconnected,
    read_body,
    timeout_ms,
    trace_of,
)
from wattline_runtime.gateway.config import GatewayConfig
from wattline_runtime.gateway.connections.direct import CLOSE, send_answer
from wattline_runtime.gateway.errors import (
    CLIENT_GONE_STATUS,
    STATUS,
    BadRequest,
    as_openai_json,
    headers,
)
from wattline_runtime.gateway.events import Outcome, Output, RequestKind, Submitted
from wattline_runtime.gateway.infer import JSON
from wattline_runtime.gateway.routing.cascade import Part, cascade
from wattline_runtime.gateway.routing.router import Choice, Router, with_model
from wattline_runtime.gateway.shell import GatewayShell
from wattline_runtime.gateway.stats import UNKNOWN_SERVICE
from wattline_runtime.wire import CHAT, COMPLETE, EMBED

METHOD_OF = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": COMPLETE,
    "/v1/embeddings": EMBED,
}
MAX_TEXTS = 2_048
"""Of a request for embeddings, as in OpenAI's API: all of them are in one batch."""
MODELS = "/v1/models"
ROUTES = ("POST " + ", POST ".join(METHOD_OF)) + f", GET {MODELS}"
EVENTS = ((b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"))


class OpenAiBody(msgspec.Struct, frozen=True):
    """What the gateway reads of a body."""

    model: str
    stream: bool | None = False
    input: msgspec.Raw = msgspec.Raw(b"null")
    """Of embeddings."""

    @property
    def texts(self) -> int:
        """Number of texts to embed."""
        if not bytes(self.input).startswith(b"["):
            return 1
        return max(1, len(msgspec.json.decode(self.input, type=list[msgspec.Raw])))


class OpenAiApp:
    """ASGI app of these routes."""

    def __init__(
        self, shell: GatewayShell, config: GatewayConfig, access: Access, router: Router
    ) -> None:
        self._router = router
        self._shell = shell
        self._config = config
        self._access = access
        self._decoder = msgspec.json.Decoder(OpenAiBody)
        self._started = int(time.time())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, always."""
        start_s = time.monotonic()
        reply = _Reply(self._shell, send)
        status, reason = 200, ""
        try:
            if scope["path"] in METHOD_OF:
                await self._infer(scope, receive, reply, start_s)
            else:
                await self._models(scope, reply)
        except BadRequest as error:
            status, reason = await reply.fail(error), error.reason
        except ClientDisconnected:
            status, reason = CLIENT_GONE_STATUS, "client_gone"
        scope[TOKENS] = reply.tokens
        self._access.ended(scope, reply.service, reason, reply.request)
        self._shell.count(reply.service, status, reason, start_s)

    # --- models

    async def _models(self, scope: Scope, reply: "_Reply") -> None:
        if scope["method"] != "GET":
            text = f"{scope['method']} is not allowed here, GET is"
            raise BadRequest("method", text, allow="GET")
        until_s = time.monotonic() + self._config.default_timeout_ms / 1000
        key = await self._access.identify(scope, until_s)
        await self._until_routes(until_s)
        models = [
            {"id": name, "object": "model", "created": self._started, "owned_by": "wattline"}
            for name in self._offering(key)
        ]
        wanted = scope["path"].removeprefix(MODELS).removeprefix("/")
        if not wanted:
            await reply.send(msgspec.json.encode({"object": "list", "data": models}))
            return
        for model in models:
            if model["id"] == wanted:
                await reply.send(msgspec.json.encode(model))
                return
        known = ", ".join(self._offering(key)) or "none"
        text = f"there is no model {wanted[:100]!r}; known models: {known}"
        raise BadRequest("unknown_service", text[:500])

    def _offering(self, key: ApiKey | None) -> list[str]:
        """Services with a model for these paths, and routes to such, of those that the key may
        see."""
        methods = {*METHOD_OF.values()}
        offering = {
            service.name
            for service in self._shell.gateway.queue.services.values()
            if service.is_listed
            and any(methods & {*worker.methods} for worker in service.workers.values())
        }
        routes = {
            name for name, route in self._shell.public.items() if offering & {*route.services}
        }
        return sorted(name for name in offering | routes if key is None or name in key.services)

    async def _until_routes(self, until_s: float) -> None:
        if self._shell.is_early:
            await self._router.wait(until_s)

    # --- answers of models

    async def _infer(self, scope: Scope, receive: Receive, reply: "_Reply", start_s: float) -> None:
        if scope["method"] != "POST":
            raise BadRequest("method", f"{scope['method']} is not allowed here, POST is")
        until_s = start_s + timeout_ms(scope, self._config) / 1000
        key = await self._access.identify(scope, until_s)
        await self._until_routes(until_s)
        most_bytes = self._config.max_body_bytes
        data = await read_body(scope, receive, most_bytes, self._shell.bodies)
        reply.request = data
        try:
            body = self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            text = f'{error}; expected {{"model": SERVICE, …}}'
            raise BadRequest("malformed", text) from error
        await self._access.permit(scope, key, body.model)
        reply.service = body.model
        reply.key = key
        method = METHOD_OF[scope["path"]]
        texts = body.texts if method == EMBED else 1
        if texts > MAX_TEXTS:
            text = f"`input` has {texts} texts; at most {MAX_TEXTS} are accepted"
            raise BadRequest("malformed", text)
        if key is not None:
            self._access.charge(key, texts)
        is_stream = bool(body.stream) and method != EMBED
        kind = RequestKind(method, is_stream, rank=rank_of(scope, key), trace=trace_of(scope))
        # A stream has the time for each chunk; a whole generation may take as long as is allowed.
        default_ms = 0 if kind.is_stream else self._config.max_timeout_ms
        deadline_s = start_s + timeout_ms(scope, self._config, default_ms=default_ms) / 1000
        seen = None if key is None else key.services
        ask = Submitted(0, body.model, data, deadline_s, seen, kind)
        route = self._shell.public.get(body.model)
        if route is not None:
            choice = self._router.choose(route, scope, data, texts, key)
            await self._routed(choice, scope, ask, receive, reply)
            return
        await (self._stream if kind.is_stream else self._whole)(ask, scope, receive, reply)

    async def _routed(
        self, choice: Choice, scope: Scope, ask: Submitted, receive: Receive, reply: "_Reply"
    ) -> None:
        """By the service that the route chooses."""
        if choice.target.is_cascade and not ask.kind.is_stream:
            await self._cascade(choice, scope, ask, receive, reply)
            return
        service = self._router.of_stream(choice) if ask.kind.is_stream else choice.service
        reply.extra = self._router.answered(scope, choice, [service])
        ask = msgspec.structs.replace(ask, service=service, input=with_model(ask.input, service))
        await (self._stream if ask.kind.is_stream else self._whole)(ask, scope, receive, reply)

    async def _cascade(
        self, choice: Choice, scope: Scope, ask: Submitted, receive: Receive, reply: "_Reply"
    ) -> None:
        shell, numbers = self._shell, list[int]()

        async def one(service: str, until_s: float, _: bool) -> Part:
            body = with_model(ask.input, service)
            number, waiter = shell.submit(service, body, until_s, ask.seen, ask.kind)
            numbers.append(number)
            return Part(await waiter, service)

        watch = shell.watch(receive, numbers)
        try:
            ended = await cascade(choice.target, one, time.monotonic(), ask.deadline_s)
        finally:
            watch.end()
            for number in numbers:
                shell.abandon(number)
        reply.extra = self._router.cascaded(choice, scope, [ended])
        part, _ = ended
        output = _output(part.outcome)
        reply.used(output.tokens + part.spent, part.energy_uj)
        await reply.send(output.body, extra=joules_header(scope, part.energy_uj))

    async def _whole(self, ask: Submitted, scope: Scope, receive: Receive, reply: "_Reply") -> None:
        shell = self._shell
        number, waiter = shell.submit(ask.service, ask.input, ask.deadline_s, ask.seen, ask.kind)
        watch = shell.watch(receive, [number])
        try:
            outcome = await waiter
        finally:
            watch.end()
            shell.abandon(number)
        output = _output(outcome)
        reply.used(output.tokens, output.energy_uj)
        await reply.send(output.body, extra=joules_header(scope, output.energy_uj))

    async def _stream(
        self, ask: Submitted, scope: Scope, receive: Receive, reply: "_Reply"
    ) -> None:
        shell = self._shell
        number, stream = shell.open_stream(ask)
        watch = shell.watch(receive, [number])
        try:
            while True:
                parts = await stream.next()
                chunks = [part for part in parts if isinstance(part, bytes)]
                if chunks:
                    self._access.require_still(reply.key, reply.service)
                    await reply.events(chunks)  # waits while the client does not read
                    shell.chunks_read(number, chunks)
                last = parts[-1]
                if not isinstance(last, bytes):
                    output = _output(last)
                    reply.used(output.tokens, output.energy_uj)
                    await reply.done(joules_header(scope, output.energy_uj))
                    return
        finally:
            watch.end()
            shell.abandon(number)


class _Reply:
    """One HTTP answer, whole or as a stream of events."""

    def __init__(self, shell: GatewayShell, send: Send) -> None:
        self._shell = shell
        self._send = send
        self._has_begun = False
        self.service = UNKNOWN_SERVICE
        self.tokens = 0
        self.request = b""
        """The body that it answers."""
        self.key: ApiKey | None = None
        self._pieces = 0
        self.extra: Sequence[tuple[bytes, bytes]] = ()
        """Headers that name what a route chose."""

    async def send(
        self, body: bytes, status: int = 200, extra: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """The whole answer."""
        named = (JSON, *extra, *self.extra)
        await send_answer(self._send, status, named, body, is_last=self._shell.is_draining)

    def used(self, tokens: int, energy_uj: int | None) -> None:
        """The answer is complete, and of so many tokens as its model reports: the pieces that were
        counted meanwhile were an estimate, which stays where it reports none."""
        self.tokens = tokens
        if self.key is None:
            return
        self.key.draw(energy_uj)
        if tokens:
            self.key.tokens.spend(tokens - self._pieces)

    async def events(self, chunks: Sequence[bytes]) -> None:
        """Further events of a stream. Each counts as a token, so that a budget sees it while it
        runs, and a client that leaves has used what it got."""
        if self.key is not None:
            self._pieces += len(chunks)
            self.key.tokens.spend(len(chunks))
        data = b"".join([b"data: " + chunk + b"\n\n" for chunk in chunks])
        await self._part(data)

    async def done(self, named: Sequence[tuple[bytes, bytes]]) -> None:
        """The end of a stream. What a whole answer would name in its header is a comment, which
        clients of server-sent events leave out."""
        comments = [b": " + name + b" " + value + b"\n\n" for name, value in named]
        await self._part(b"".join([*comments, b"data: [DONE]\n\n"]))
        await self._send({"type": "http.response.body", "body": b""})

    async def fail(self, error: BadRequest) -> int:
        """An error: with its status, or as an event where the stream has begun. Returns the status
        that the client got."""
        body = msgspec.json.encode(as_openai_json(error))
        if self._has_begun:
            await self._part(b"event: error\ndata: " + body + b"\n\n")
            await self._send({"type": "http.response.body", "body": b""})
            return 200
        extra = [(name.encode(), value.encode()) for name, value in headers(error)]
        await self.send(body, STATUS[error.reason], extra)
        return STATUS[error.reason]

    async def _part(self, data: bytes) -> None:
        if not self._has_begun:
            self._has_begun = True
            await self._start(200, [*EVENTS, *self.extra])
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def _start(self, status: int, named: list[tuple[bytes, bytes]]) -> None:
        if self._shell.is_draining:
            named.append(CLOSE)
        await self._send({"type": "http.response.start", "status": status, "headers": named})


def _output(outcome: Outcome | None) -> Output:
    if isinstance(outcome, Output):
        return outcome
    if outcome is None:
        raise ClientDisconnected
    raise BadRequest(outcome.reason, outcome.message, outcome.retry_after_s)
