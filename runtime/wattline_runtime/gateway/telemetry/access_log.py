"""Log of requests: a JSON object a line. Never bodies, keys, or names of services that are none."""

import asyncio
import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from wattline_protocol.views.request_logs import LoggedRequest
from wattline_runtime.gateway.client import ASKED
from wattline_runtime.gateway.connections.direct import Noting
from wattline_runtime.gateway.errors import CLIENT_GONE_STATUS
from wattline_runtime.gateway.telemetry.body_log import BodyLog, TakenBodies
from wattline_runtime.gateway.telemetry.log_file import CHECK_S, FLUSH_S, LogFile
from wattline_runtime.gateway.telemetry.request_fields import RequestFields

MAX_PENDING = 50_000
"""Lines that wait for the disk; more are dropped."""
REQUEST_ID = b"wattline-request-id"


class AccessLog:
    """Lines that wait, and their file."""

    def __init__(self, path: Path, retention_s: float, *, rotates: bool = True) -> None:
        """`rotates`: not so for all but one process. Raises OSError unless the disk is full."""
        self.file = LogFile("access_log", path, retention_s, rotates=rotates)
        self._pending: list[LoggedRequest] = []
        self._checked_s = 0.0
        self._encode = msgspec.json.Encoder().encode

    def add(self, line: LoggedRequest) -> None:
        """Write it soon."""
        if len(self._pending) < MAX_PENDING:
            self._pending.append(line)
        else:
            self.file.lose(1)

    async def run(self) -> None:
        """Write what is added, for as long as the gateway lasts."""
        try:
            while True:
                await asyncio.sleep(FLUSH_S)
                lines, now_s = self._take(), time.monotonic()
                if lines or now_s >= self._checked_s + CHECK_S:
                    self._checked_s = now_s
                    await asyncio.to_thread(self.write, lines)
        finally:
            self.write(self._take())
            self.file.close()

    def _take(self) -> list[LoggedRequest]:
        taken, self._pending = self._pending, []
        return taken

    def write(self, lines: Sequence[LoggedRequest]) -> None:
        """Append lines, or drop them while the disk takes none."""
        self.file.write([self._encode(line) for line in lines])


class Logged:
    """ASGI app that logs the requests to services of another one, and bodies of some."""

    def __init__(
        self,
        app: ASGIApp,
        fields: RequestFields,
        access_log: AccessLog | None,
        body_log: BodyLog | None = None,
    ) -> None:
        self._app, self._fields = app, fields
        self._log, self._bodies = access_log, body_log
        self._prefix, self._number = secrets.token_hex(4), 0
        self._second, self._second_text = 0, ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer it as the other app does, with a header more."""
        start_s, moment = time.monotonic(), self._moment(time.time())
        self._number += 1
        number = f"{self._prefix}{self._number:08x}"
        bodies: TakenBodies | None = None
        if self._bodies is not None and (bodies := self._bodies.take(scope, number)) is not None:
            receive, send = bodies.receiving(receive), bodies.sending(send)
        noting = Noting(send, CLIENT_GONE_STATUS, (REQUEST_ID, number.encode()))
        await self._app(scope, receive, noting)
        if scope["method"] != "POST" and ASKED not in scope:
            return  # metrics, health and lists
        latency_ms = round((time.monotonic() - start_s) * 1000, 3)
        line = LoggedRequest(moment, number, noting.status, latency_ms, **self._fields.of(scope))
        if self._log is not None:
            self._log.add(line)
        if self._bodies is not None and bodies is not None:
            self._bodies.add(line, bodies)

    def _moment(self, unix_s: float) -> str:
        """As in ISO 8601; a second is formatted once."""
        second = int(unix_s)
        if second != self._second:
            self._second = second
            self._second_text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._second_text}.{int((unix_s - second) * 1000):03d}Z"
