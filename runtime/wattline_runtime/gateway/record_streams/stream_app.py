"""`POST /v1/services/{service}/stream`: many records over one connection."""

import asyncio
import re
import time
from functools import partial
from math import inf

from starlette.types import Receive, Scope, Send

from wattline_protocol.http.limits import client_key
from wattline_protocol.http.scope_notes import LONG_BODY, LongBody, has_client_left
from wattline_protocol.http.unread import UnreadAnswers
from wattline_runtime.gateway.access.check import Access
from wattline_runtime.gateway.access.key_ring import ApiKey
from wattline_runtime.gateway.access.priority import rank_of
from wattline_runtime.gateway.access.service_check import require_service
from wattline_runtime.gateway.answers.answers import Answers
from wattline_runtime.gateway.client import header, timeout_ms
from wattline_runtime.gateway.config import GatewayConfig
from wattline_runtime.gateway.connections.direct import CLOSE
from wattline_runtime.gateway.errors import BadRequest
from wattline_runtime.gateway.infer import KINDS
from wattline_runtime.gateway.record_streams.kept_streams import Kept, KeptStreams, Name
from wattline_runtime.gateway.record_streams.record_stream import (
    FULL,
    REVOKED,
    Answer,
    Ask,
    Computing,
    End,
    KeyRevoked,
    RecordStream,
)
from wattline_runtime.gateway.record_streams.unsent import MOST_UNSENT_BYTES, Unsent
from wattline_runtime.gateway.shell import GatewayShell

PATH = "/v1/services/{service}/stream"
ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
MAX_SEQ = 2**53 - 1
CHECK_S = 0.25
IDLE_S = 600.0
NDJSON = (b"content-type", b"application/x-ndjson")
STOPPING = End("stopping", "the gateway stops; connect again and send the records behind `after`")
SUPERSEDED = End("superseded", "another connection has this stream id now")
IDLE = End("idle", f"no record came for {IDLE_S:.0f} s; connect again when there is one")


class StreamApp:
    """ASGI app of this route."""

    def __init__(
        self, shell: GatewayShell, answers: Answers, config: GatewayConfig, access: Access
    ) -> None:
        self._shell, self._answers, self._config = shell, answers, config
        self._access = access
        self._kept: KeptStreams[Answer, RecordStream] = KeptStreams()
        self._open: dict[RecordStream, Ask] = {}
        self._unsent = UnreadAnswers(MOST_UNSENT_BYTES)
        self._checks: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection. Raises BadRequest before its first answer."""
        if scope["method"] != "POST":
            raise BadRequest("method", f"{scope['method']} is not allowed here, POST is")
        service: str = scope["path_params"]["service"]
        until_s = time.monotonic() + self._config.default_timeout_ms / 1000
        key = await self._access.require(scope, service, until_s)
        require_service(self._shell.gateway.queue, service, key)
        if self._shell.is_draining:
            raise BadRequest("stopping", "this gateway is stopping", retry_after_s=1)
        ask = Ask(
            service,
            timeout_ms(scope, self._config) / 1000,
            KINDS[rank_of(scope, key)],
            self._config.client_timeout_s / 2,
            partial(self._key, key, service),
            partial(has_client_left, scope),
            _client(scope, key),
        )
        after, stream_id = _after(scope), _id(scope)
        scope[LONG_BODY] = LongBody(inf, is_paced=True)
        if stream_id is None:
            await self._serve_unnamed(ask, after, receive, send)
        else:
            digest = "" if key is None else key.grant.digest
            name = Name(digest, service, stream_id)
            await self._serve_named(name, ask, after, receive, send)

    async def _serve_unnamed(self, ask: Ask, after: int, receive: Receive, send: Send) -> None:
        kept: Kept[Answer, RecordStream] = Kept()
        computing = self._computing(ask, kept)
        try:
            stream = RecordStream(computing, ask, after)
            computing.unsent.end = partial(stream.replace, FULL)
            await self._serve(stream, ask, "", receive, send)
        finally:
            computing.cancel()
            computing.unsent.close()

    async def _serve_named(
        self, name: Name, ask: Ask, after: int, receive: Receive, send: Send
    ) -> None:
        kept, before = self._kept.open(name)
        self._cancel_dropped()
        if before is not None:
            before.replace(SUPERSEDED)
            kept.note = before.note  # its client may return before its end was seen
        for answer in kept.window.acknowledge(after):
            answer.cancel()
        computing = self._computing(ask, kept)
        stream = kept.holder = RecordStream(computing, ask, after)
        computing.unsent.end = partial(stream.replace, FULL)
        note, kept.note = kept.note, ""
        try:
            await self._serve(stream, ask, note, receive, send)
        finally:
            self._kept.close(name, stream, stream.note, time.monotonic())
            computing.unsent.close()

    async def _serve(
        self, stream: RecordStream, ask: Ask, note: str, receive: Receive, send: Send
    ) -> None:
        self._open[stream] = ask
        self._plan_check()
        named = [NDJSON, CLOSE]
        if note:
            named.append((b"wattline-stream-note", note.encode()))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": named})
            await stream.run(receive, send)
        finally:
            del self._open[stream]

    def _computing(self, ask: Ask, kept: Kept[Answer, RecordStream]) -> Computing:
        count = partial(self._shell.stats.count, ask.service)
        unsent = Unsent(ask.client, self._unsent)
        return Computing(self._answers, ask, kept.window, count, unsent)

    def _key(self, key: ApiKey | None, service: str) -> ApiKey | None:
        """The key, as long as it is valid. Raises KeyRevoked."""
        ring = self._shell.keys
        if key is None or ring is None:
            return None
        holder = ring.holder(key.grant.digest, time.time())
        if holder is None or service not in holder.services:
            raise KeyRevoked
        return holder

    # --- what ends streams

    def _cancel_dropped(self) -> None:
        for kept in self._kept.take_dropped():
            for answer in kept.window.answers():
                answer.cancel()

    def _plan_check(self) -> None:
        if self._checks is None:
            loop = asyncio.get_running_loop()
            self._checks = loop.call_later(CHECK_S, self._check)

    def _check(self) -> None:
        self._checks = None
        now_s = time.monotonic()
        self._kept.expire(now_s)
        self._cancel_dropped()
        for stream, ask in list(self._open.items()):
            if self._shell.is_draining:
                stream.stop(STOPPING)
            elif stream.is_idle and now_s - stream.active_s > IDLE_S:
                stream.stop(IDLE)
            else:
                try:
                    ask.key()
                except KeyRevoked:
                    stream.stop(REVOKED)
        if self._open or len(self._kept):
            self._plan_check()


def _client(scope: Scope, key: ApiKey | None) -> str:
    """What unsent answers are counted by: the key, or the address at an open gateway."""
    if key is not None:
        return key.grant.digest
    client = scope.get("client")
    return client_key(client[0]) if client else ""


def _after(scope: Scope) -> int:
    text = header(scope, b"wattline-stream-after") or "0"
    if not (text.isascii() and text.isdecimal()) or len(text) > 16 or int(text) > MAX_SEQ:
        text = "header wattline-stream-after is the last seq that was read, 0 at first"
        raise BadRequest("malformed", text)
    return int(text)


def _id(scope: Scope) -> str | None:
    text = header(scope, b"wattline-stream-id")
    if text is not None and not ID.fullmatch(text):
        text = "header wattline-stream-id has 1 to 128 characters of A-Za-z0-9._-"
        raise BadRequest("malformed", text)
    return text
