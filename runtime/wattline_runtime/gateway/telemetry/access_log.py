"""Log of requests: one JSON object a line. Never bodies, keys, or names of services that are none.

Lines are written in a thread, some at a time, so that a slow disk delays no request. A full disk
stops the log, not the service. Each process of a gateway appends to the same file; one rotates it.
"""

import asyncio
import os
import secrets
import time
from contextlib import suppress
from datetime import UTC, datetime
from errno import EDQUOT, ENOSPC
from glob import escape
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wattline_protocol.views.request_logs import LoggedRequest
from wattline_protocol.wire.routes import WorkerRoute
from wattline_runtime.gateway.client import ASKED, TOKENS
from wattline_runtime.gateway.routing.router import ROUTED
from wattline_runtime.gateway.shell import GatewayShell
from wattline_runtime.gateway.state import ServiceState

log = structlog.get_logger()

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_FILE_AGE_S = 86_400.0
"""Older files are rotated, so that no line is kept much longer than `retention`."""
FLUSH_S = 0.2
MAX_PENDING = 50_000
"""Lines that wait for the disk; more are dropped."""
CHECK_S = 10.0
"""Interval of checks of the file's age, and of those that are kept, without requests."""
RETRY_S = 10.0
"""Interval of attempts while the disk is full."""
MODE = 0o600
CLIENT_GONE_STATUS = 499
REQUEST_ID = b"wattline-request-id"
FULL = (ENOSPC, EDQUOT)


class AccessLog:
    """The file. Methods other than `write` run on the loop's thread."""

    def __init__(self, path: Path, retention_s: float, *, rotates: bool = True) -> None:
        """`rotates`: not so for all but one process. Raises OSError unless the disk is full."""
        self._path, self._retention_s, self._rotates = path, retention_s, rotates
        self._pending: list[LoggedRequest] = []
        self._lost = 0
        self._file = -1
        self._begun_s = 0.0
        self._is_stopped = False
        """The disk did not take the last lines."""
        self._is_torn = False
        self._retry_at_s = self._checked_s = 0.0
        self._lock = Lock()
        self._encoder = msgspec.json.Encoder()
        try:
            self._open()
        except OSError as error:
            if error.errno not in FULL:
                raise OSError(error.errno, f"access log {path}: {error.strerror}") from error
            self._note_stopped(error)

    def add(self, line: LoggedRequest) -> None:
        """Write it soon."""
        if len(self._pending) < MAX_PENDING:
            self._pending.append(line)
        else:
            self._lost += 1

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
            self.close()

    def _take(self) -> list[LoggedRequest]:
        taken, self._pending = self._pending, []
        return taken

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def write(self, lines: list[LoggedRequest]) -> None:
        """Append lines, or drop them while the disk takes none."""
        with self._lock:  # at the end of the gateway a thread may still write
            self._write(lines)

    def _write(self, lines: list[LoggedRequest]) -> None:
        now_s = time.monotonic()
        if self._is_stopped and now_s < self._retry_at_s:
            self._lost += len(lines)
            return
        try:
            self._renew()
            self._append(lines)
        except OSError as error:
            self._lost += len(lines)
            self._retry_at_s = now_s + RETRY_S
            if not self._is_stopped:
                self._note_stopped(error)
            return
        if self._is_stopped:
            self._is_stopped = False
            log.warning("access_log_resumed", lost=self._lost)
            self._lost = 0

    def _append(self, lines: list[LoggedRequest]) -> None:
        """A line of which a full disk took a part only is ended first."""
        data = b"".join(self._encoder.encode(line) + b"\n" for line in lines)
        left = memoryview(b"\n" + data if self._is_torn and data else data)
        while left:
            written = os.write(self._file, left)
            self._is_torn = left[written - 1] != ord("\n")
            left = left[written:]

    def _note_stopped(self, error: OSError) -> None:
        self._is_stopped = True
        log.warning("access_log_stopped", path=str(self._path), why=error.strerror)

    # --- rotation

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        # A pipe without a reader is an error; the gateway does not wait for one.
        self._file = os.open(self._path, flags | os.O_NONBLOCK, MODE)
        os.set_blocking(self._file, True)
        self._begun_s = time.time()

    def _renew(self) -> None:
        """Rotate the file, or follow another process that has."""
        if self._file < 0:
            self._open()
        own = os.fstat(self._file)
        if self._rotates and own.st_size and self._is_due(own.st_size):
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
            self._path.rename(self._path.with_name(f"{self._path.name}.{stamp}"))
        if self._rotates:
            self._delete_old()
        try:
            is_same = self._path.stat().st_ino == own.st_ino
        except FileNotFoundError:
            is_same = False
        if not is_same:
            self._close()
            self._open()

    def _is_due(self, size: int) -> bool:
        age_s = min(MAX_FILE_AGE_S, self._retention_s)
        return size >= MAX_FILE_BYTES or time.time() - self._begun_s >= age_s

    def _delete_old(self) -> None:
        for old in self._path.parent.glob(f"{escape(self._path.name)}.*Z"):
            with suppress(FileNotFoundError):
                if old.stat().st_mtime < time.time() - self._retention_s:
                    old.unlink()


class Logged:
    """ASGI app that logs the requests to services of another one."""

    def __init__(self, app: ASGIApp, shell: GatewayShell, access_log: AccessLog) -> None:
        self._app, self._shell, self._log = app, shell, access_log
        self._prefix, self._number = secrets.token_hex(4), 0
        self._second, self._second_text = 0, ""
        self._revisions: dict[str, tuple[tuple[WorkerRoute, ...], int | None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer it as the other app does, with a header more."""
        start_s, moment = time.monotonic(), self._moment(time.time())
        self._number += 1
        number = f"{self._prefix}{self._number:08x}"
        status = CLIENT_GONE_STATUS

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (REQUEST_ID, number.encode())]
            await send(message)

        await self._app(scope, receive, note)
        if scope["method"] != "POST" and ASKED not in scope:
            return  # metrics, health and lists
        latency_ms = round((time.monotonic() - start_s) * 1000, 3)
        self._log.add(LoggedRequest(moment, number, status, latency_ms, **self._asked(scope)))

    def _asked(self, scope: Scope) -> dict[str, Any]:
        key, name = scope.get(ASKED, (None, scope.get("path_params", {}).get("service", "")))
        found: dict[str, Any] = {"key": key, "tokens": scope.get(TOKENS, 0)}
        if name in self._shell.public:
            found["route"] = name
            found["rule"], name = scope.get(ROUTED, (None, ""))
        service = self._shell.gateway.queue.services.get(name)
        if service is not None:
            found["service"], found["revision"] = name, self._revision(service)
            found["owner"] = self._shell.owners.get(name)
        return found

    def _revision(self, service: ServiceState) -> int | None:
        """The only one of a service; computed once for each change of its routes."""
        routes, known = self._revisions.get(service.name, ((), None))
        if routes is not service.routes:
            revisions = {int(route.ref.job) for route in service.routes}
            known = revisions.pop() if len(revisions) == 1 else None
            self._revisions[service.name] = service.routes, known
        return known

    def _moment(self, unix_s: float) -> str:
        """As in ISO 8601; a second is formatted once."""
        second = int(unix_s)
        if second != self._second:
            self._second = second
            self._second_text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._second_text}.{int((unix_s - second) * 1000):03d}Z"
