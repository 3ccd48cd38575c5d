"""Route sources: which workers may serve which service."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from wattline_protocol.ids import UnixTime
from wattline_protocol.routing.model import PublicRoute
from wattline_protocol.wire.api_keys import (
    ApiKeyGrant,
    ApiKeyShares,
    BudgetDay,
    ReportApiKeyUse,
)
from wattline_protocol.wire.rollouts import GatewayReport, RouteSplit
from wattline_protocol.wire.routes import Routes, WorkerRoute
from wattline_protocol.wire.service_settings import ServiceSettings

log = structlog.get_logger()

FILE_PERIOD_S = 0.2
DAY_S = 86_400.0
MAX_ROUTES_BYTES = 16 * 1024 * 1024


class RouteSource(Protocol):
    """A stream of full sets of routes: the current one first, then each change.

    It lasts as long as the gateway; a source that loses its own source keeps trying, and the
    gateway continues with the last set.
    """

    def updates(self) -> AsyncIterator[Routes]:
        """Services with the workers that may serve them and their settings, and the API keys of
        clients."""

    def report(self, report: GatewayReport) -> None:
        """Pass on what the gateway has counted since its last report; never waits."""

    async def report_use(self, report: ReportApiKeyUse) -> ApiKeyShares | None:
        """Report the use of API keys; returns the parts of their rates that this gateway may
        grant. None: no answer came, and the report is to be repeated."""


class RoutesFileInvalid(ValueError):
    """The routes file cannot be used; the text names place and reason."""


class RoutesFileUnreadable(RoutesFileInvalid):
    """The system cannot read it, now."""


class RoutesFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`{"services": {NAME: [{"ref": {"job": 1, "task": 0, "attempt": 1}, "public_key": Z85}]}}`;
    for a closed gateway also `"keys": [{"name": NAME, "digest": SHA256, "services": [NAME]}]`;
    optionally `"settings": {NAME: {"cache_ttl_s": 300, "cache_bytes": 1000000}}`, and `"public":
    [ROUTE]`."""

    services: dict[str, tuple[WorkerRoute, ...]]
    keys: tuple[ApiKeyGrant, ...] = ()
    splits: dict[str, RouteSplit] = {}
    settings: dict[str, ServiceSettings] = {}
    public: tuple[PublicRoute, ...] = ()


class FileRoutes:
    """Routes from a JSON file, read again when it changes: for a gateway without a scheduler."""

    def __init__(self, path: Path, period_s: float = FILE_PERIOD_S) -> None:
        self._path = path
        self._period_s = period_s
        self._day_unix_s = 0.0
        self._used_tokens: Counter[str] = Counter()

    def report(self, report: GatewayReport) -> None:
        """A file takes no reports."""

    async def updates(self) -> AsyncIterator[Routes]:
        """Raises RoutesFileInvalid for the first read; later invalid edits are only logged, and
        what cannot be read, as without a free file descriptor, is tried again."""
        seen = self._stamp()
        noted: tuple[object, str] | None = None
        yield self._read()
        while True:
            await asyncio.sleep(self._period_s)
            stamp = self._stamp()
            if stamp == seen:
                continue
            try:
                routes = self._read()
            except RoutesFileInvalid as error:
                if (newest := (stamp, str(error))) != noted:
                    noted = newest
                    log.warning("routes_file_invalid", detail=str(error))
                if not isinstance(error, RoutesFileUnreadable):
                    seen = stamp
                continue
            seen = stamp
            yield routes

    async def report_use(self, report: ReportApiKeyUse) -> ApiKeyShares:
        """The gateway is alone: it has all of each rate, and its own count of the UTC day."""
        now_s = time.time()
        day_unix_s = now_s - now_s % DAY_S
        if day_unix_s != self._day_unix_s:
            self._day_unix_s, self._used_tokens = day_unix_s, Counter()
        for one in report.uses:
            if one.tokens_today and report.day_unix_s in (0.0, day_unix_s):
                self._used_tokens[one.digest] += one.tokens_today
        day = BudgetDay(UnixTime(day_unix_s), DAY_S, day_unix_s + DAY_S - now_s)
        return ApiKeyShares(1.0, day=day, used_tokens=dict(self._used_tokens))

    def _stamp(self) -> tuple[int, int, int]:
        try:
            status = self._path.stat()
        except OSError:
            return (0, 0, 0)
        return (status.st_ino, status.st_mtime_ns, status.st_size)

    def _read(self) -> Routes:
        try:
            with self._path.open("rb") as opened:
                data = opened.read(MAX_ROUTES_BYTES + 1)
        except OSError as error:
            raise RoutesFileUnreadable(f"{self._path}: {error.strerror}") from error
        if len(data) > MAX_ROUTES_BYTES:
            raise RoutesFileInvalid(f"{self._path}: over {MAX_ROUTES_BYTES} bytes")
        try:
            file = msgspec.json.decode(data, type=RoutesFile)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RoutesFileInvalid(f"{self._path}: {error}") from error
        public = {route.name: route for route in file.public}
        return Routes(file.services, file.splits, file.keys, file.settings, public=public)
