"""Routes of batches. A body goes to disk in pieces; what waits for the disk runs in threads."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial, wraps
from typing import TypeVar

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive

from wattline_protocol.http.scope_notes import LONG_BODY, LongBody
from wattline_protocol.text.quantities import parse_duration_s
from wattline_runtime.disk import DISK_FULL
from wattline_runtime.gateway.access.check import Access
from wattline_runtime.gateway.access.key_ring import ApiKey
from wattline_runtime.gateway.access.service_check import require_service
from wattline_runtime.gateway.batches import directory as d
from wattline_runtime.gateway.batches import folder as f
from wattline_runtime.gateway.batches.keeper import BatchKeeper
from wattline_runtime.gateway.batches.records import Batch, Progress, shown
from wattline_runtime.gateway.batches.rows import MAX_LINE_BYTES, RowInvalid, RowTooLarge, read_row
from wattline_runtime.gateway.client import ClientDisconnected, timeout_ms
from wattline_runtime.gateway.config import GatewayConfig
from wattline_runtime.gateway.errors import CLIENT_GONE_STATUS, BadRequest
from wattline_runtime.gateway.record_streams.lines import Lines, LineTooLong
from wattline_runtime.gateway.shell import GatewayShell
from wattline_runtime.gateway.telemetry.shared_look import SharedLook

log = structlog.get_logger()

PATH = "/v1/batches"
ROUTES = f"POST {PATH}?service=SERVICE, GET {PATH}"
MAX_ROWS = 100_000
MAX_BYTES = 256 * 1024**2
GROUP_BYTES = 256 * 1024
"""Of a body, that a thread takes at once."""
DEFAULT_WINDOW = "24h"
MAX_WINDOW_S = 7 * 86_400.0
FOLLOW_S = 0.1
MOST_FOLLOW_S = 1.0
"""Interval of looks for further results: the longer nothing comes, the longer."""
MAX_LISTED = 100
NDJSON = "application/x-ndjson"
T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]


class _Receiving:
    """Rows on their way to disk; its methods run in a thread."""

    def __init__(self, keeper: BatchKeeper, service: str) -> None:
        self.total = self.size_bytes = 0
        self._directory, self._service = keeper.directory, service
        self._lines = Lines(MAX_LINE_BYTES)
        self._upload = f.Upload(self._directory.root, f"batch_{secrets.token_hex(16)}")
        self.id = self._upload.id

    def take(self, data: bytes) -> None:
        """Check a piece of the body, and write it. Raises BadRequest and OSError."""
        try:
            self._add(self._lines.feed(data))
        except LineTooLong as error:
            text = f"line {self.total + 1}: more than {MAX_LINE_BYTES} bytes"
            raise BadRequest("body_too_large", text) from error

    def _add(self, lines: list[bytes]) -> None:
        for line in lines:
            self.total += 1
            try:
                read_row(line, self._service)
            except RowInvalid as error:
                reason = "body_too_large" if isinstance(error, RowTooLarge) else "malformed"
                raise BadRequest(reason, f"line {self.total}: {error}"[:1000]) from error
        if self.total > MAX_ROWS:
            raise BadRequest("body_too_large", f"a batch has at most {MAX_ROWS} rows")
        data = b"".join(line + b"\n" for line in lines)
        self.size_bytes += len(data)
        if self.size_bytes > MAX_BYTES:
            raise BadRequest("body_too_large", f"a batch has at most {MAX_BYTES} bytes")
        if self._directory.spare_bytes() < 0:
            raise _disk_full()
        self._upload.write(data)

    def accept(self, key: ApiKey | None, window_s: float, timeout_ms: int) -> Batch:
        """All of it has come. Raises BadRequest and OSError."""
        self._add(self._lines.last())
        if not self.total:
            raise BadRequest("malformed", "the body has no rows; expected a line for each")
        now_s = time.time()
        batch = Batch(
            id=self.id,
            service=self._service,
            key=_owner(key),
            key_name="" if key is None else key.grant.name,
            created_unix_s=now_s,
            deadline_unix_s=now_s + window_s,
            timeout_ms=timeout_ms,
            total=self.total,
            input_bytes=self.size_bytes,
        )
        self._upload.accept(batch)
        return batch

    def discard(self) -> None:
        """It was refused, or its client has disconnected."""
        self._upload.discard()


class BatchRoutes:
    """Their handlers."""

    def __init__(
        self,
        keeper: BatchKeeper | None,
        shell: GatewayShell,
        config: GatewayConfig,
        access: Access,
    ) -> None:
        """`keeper` None: this gateway has no batches."""
        self._keeper, self._shell, self._config, self._access = keeper, shell, config, access
        self._uploading: Counter[str] = Counter()
        """Batches that are being received, by key."""
        self._every = SharedLook(self._all)

    def routes(self) -> list[Route]:
        """All of them."""
        one = f"{PATH}/{{batch_id}}"
        handlers: tuple[tuple[str, str, Handler], ...] = (
            ("POST", PATH, self._create),
            ("GET", PATH, self._list),
            ("GET", one, self._show),
            ("DELETE", one, self._delete),
            ("POST", f"{one}/cancel", self._cancel),
            ("GET", f"{one}/results", self._results),
        )
        return [Route(path, _with_disk(do), methods=[method]) for method, path, do in handlers]

    # --- creation

    async def _create(self, request: Request) -> Response:
        keeper = self._open()
        service = request.query_params.get("service", "")
        if not service:
            raise BadRequest("malformed", f"name the service of the batch: {PATH}?service=NAME")
        key = await self._identify(request)
        await self._access.permit(request.scope, key, service)
        require_service(self._shell.gateway.queue, service, key)
        window_s = _window_s(request)
        try_ms = timeout_ms(request.scope, self._config, default_ms=self._config.max_timeout_ms)
        owner = _owner(key)
        self._uploading[owner] += 1
        try:
            batch = await self._upload(request, keeper, service, key, window_s, try_ms)
        except ClientDisconnected:
            return Response(status_code=CLIENT_GONE_STATUS)  # it reads no answer
        finally:
            self._uploading[owner] -= 1
            self._uploading += Counter()  # without those at zero
        log.info(
            "batch_accepted", id=batch.id, service=service, key=batch.key_name, rows=batch.total
        )
        keeper.look()
        found = d.Found(batch, Progress())
        return JSONResponse(await self._aside(self._shown, keeper, found), 201)

    async def _upload(
        self,
        request: Request,
        keeper: BatchKeeper,
        service: str,
        key: ApiKey | None,
        window_s: float,
        try_ms: int,
    ) -> Batch:
        request.scope[LONG_BODY] = LongBody(2 * MAX_BYTES, is_paced=False)
        owner, directory = _owner(key), keeper.directory
        uploading = self._uploading[owner]
        await self._aside(directory.make)
        await self._aside(_check_limits, directory, await self._every.get(), owner, uploading)
        receiving = await self._aside(_Receiving, keeper, service)
        try:
            await self._receive(request.receive, receiving)
            return await self._aside(receiving.accept, key, window_s, try_ms)
        except BaseException:
            await asyncio.shield(self._aside(receiving.discard))
            raise

    async def _receive(self, receive: Receive, receiving: _Receiving) -> None:
        pieces: list[bytes] = []
        size_bytes, has_more = 0, True
        while has_more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
            pieces.append(message.get("body", b""))
            size_bytes += len(pieces[-1])
            has_more = message.get("more_body", False)
            if size_bytes >= GROUP_BYTES or not has_more:
                await self._aside(receiving.take, b"".join(pieces))
                pieces, size_bytes = [], 0

    # --- what there is

    async def _list(self, request: Request) -> Response:
        keeper = self._open()
        key = await self._identify(request)
        most = _whole(request, "limit", 20, MAX_LISTED)
        found = await self._every.get()
        own = [one for one in found if _may_see(key, one.batch)]
        after = request.query_params.get("after", "")
        if after:
            ids = [one.batch.id for one in own]
            if after not in ids:
                raise _unknown(after)
            own = own[ids.index(after) + 1 :]
        data = [await self._aside(self._shown, keeper, one) for one in own[:most]]
        return JSONResponse({"object": "list", "data": data, "has_more": len(own) > most})

    async def _show(self, request: Request) -> Response:
        keeper = self._open()
        found = await self._own(request, keeper)
        return JSONResponse(await self._aside(self._shown, keeper, found))

    async def _cancel(self, request: Request) -> Response:
        keeper = self._open()
        found = await self._own(request, keeper)
        if found.progress.is_open:
            try:
                await self._aside(f.request_cancel, keeper.directory.path(found.batch.id))
            except FileNotFoundError:  # it was deleted meanwhile
                raise _unknown(found.batch.id) from None
        return JSONResponse(await self._aside(self._shown, keeper, found))

    async def _delete(self, request: Request) -> Response:
        keeper = self._open()
        found = await self._own(request, keeper)
        if found.progress.is_open:
            text = f"the batch has not ended; cancel it: POST {PATH}/{found.batch.id}/cancel"
            raise BadRequest("batch_open", text)
        await self._aside(f.remove, keeper.directory.path(found.batch.id))
        log.info("batch_deleted", id=found.batch.id, why="request")
        return Response(status_code=204)

    async def _results(self, request: Request) -> Response:
        keeper = self._open()
        found = await self._own(request, keeper)
        after = _whole(request, "after", 0, found.batch.total)
        follow = request.query_params.get("follow", "false")
        if follow not in ("true", "false"):
            raise BadRequest("malformed", "follow is true or false")
        lines = self._lines(keeper, found.batch.id, after, is_followed=follow == "true")
        return StreamingResponse(lines, media_type=NDJSON)

    async def _lines(
        self, keeper: BatchKeeper, batch_id: str, after: int, *, is_followed: bool
    ) -> AsyncIterator[bytes]:
        results: f.Results | None = None
        delay_s = FOLLOW_S
        try:
            while (found := await self._aside(keeper.directory.find, batch_id)) is not None:
                progress = keeper.progress(found)
                if results is None and progress.rows > after:
                    path = keeper.directory.path(batch_id)
                    results = await self._aside(f.Results, path, after)
                while results is not None:
                    data = await self._aside(results.read, progress.output_bytes)
                    if not data:
                        break
                    yield data
                    delay_s = FOLLOW_S
                if not is_followed or not progress.is_open or keeper.is_draining:
                    return
                await asyncio.sleep(delay_s)
                delay_s = min(MOST_FOLLOW_S, delay_s * 1.5)
        except FileNotFoundError:
            return  # it was deleted
        finally:
            if results is not None:
                results.close()

    # --- of all

    async def _all(self) -> list[d.Found]:
        return await self._aside(self._open().directory.all)

    def _open(self) -> BatchKeeper:
        if self._keeper is None:
            text = "this gateway keeps no batches; its option --batch-dir opens them"
            raise BadRequest("no_batches", text)
        return self._keeper

    async def _identify(self, request: Request) -> ApiKey | None:
        until_s = time.monotonic() + self._config.default_timeout_ms / 1000
        return await self._access.identify(request.scope, until_s)

    async def _own(self, request: Request, keeper: BatchKeeper) -> d.Found:
        """The batch of a request, if its key may see it."""
        key = await self._identify(request)
        batch_id = request.path_params["batch_id"]
        found = await self._aside(keeper.directory.find, batch_id)
        if found is None or not _may_see(key, found.batch):
            raise _unknown(batch_id)
        return found

    @staticmethod
    def _shown(keeper: BatchKeeper, found: d.Found) -> dict[str, object]:
        cancelled = f.is_cancelled(keeper.directory.path(found.batch.id))
        return shown(found.batch, keeper.progress(found), is_cancelled=cancelled)

    async def _aside(self, function: Callable[..., T], *args: object) -> T:
        threads = self._open().threads
        return await asyncio.get_running_loop().run_in_executor(threads, partial(function, *args))


def _owner(key: ApiKey | None) -> str:
    return "" if key is None else key.grant.digest


def _check_limits(
    directory: d.BatchDirectory, every: list[d.Found], owner: str, uploading: int
) -> None:
    if directory.spare_bytes() < 0:
        raise _disk_full()
    use = d.use_of(owner, every)
    if use.is_open + uploading > d.MAX_OPEN:
        text = f"{d.MAX_OPEN} batches of this key have not ended, the maximum"
        raise BadRequest("too_many_batches", text, retry_after_s=30)
    if use.kept >= d.MAX_KEPT or use.size_bytes >= d.MAX_KEPT_BYTES:
        text = f"{use.kept} batches of this key take {use.size_bytes} bytes; delete some of them"
        most = f"at most {d.MAX_KEPT} batches and {d.MAX_KEPT_BYTES} bytes are kept"
        raise BadRequest("too_many_batches", f"{text}: {most}")


def _may_see(key: ApiKey | None, batch: Batch) -> bool:
    return key is None or batch.key == key.grant.digest


def _window_s(request: Request) -> float:
    text = request.query_params.get("completion_window", DEFAULT_WINDOW)
    try:
        window_s = parse_duration_s(text)
    except ValueError as error:
        raise BadRequest("malformed", f"completion_window: {error}") from error
    if not 0 < window_s <= MAX_WINDOW_S:
        raise BadRequest("malformed", f"completion_window is {text[:40]}; at most 7d are accepted")
    return window_s


def _whole(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or int(text) > most:
        raise BadRequest("malformed", f"{name} is a whole number from 0 to {most}")
    return int(text)


def _unknown(batch_id: str) -> BadRequest:
    text = f"there is no batch {batch_id[:60]!r} of this key; list them: GET {PATH}"
    return BadRequest("unknown_batch", text)


def _with_disk(handler: Handler) -> Handler:
    """The handler; what its disk refuses is answered in words, without a path of this host."""

    @wraps(handler)
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except OSError as error:
            log.warning("batch_refused", why=error.strerror)
            raise _refused_by(error) from error

    return answer


def _refused_by(error: OSError) -> BadRequest:
    if error.errno in DISK_FULL:
        return _disk_full()
    text = f"the directory of batches cannot be used now: {error.strerror or 'unknown error'}"
    return BadRequest("disk_error", text, retry_after_s=30)


def _disk_full() -> BadRequest:
    text = "the disk for batches is full; accepted ones are kept, no new one is accepted now"
    return BadRequest("disk_full", text, retry_after_s=30)
