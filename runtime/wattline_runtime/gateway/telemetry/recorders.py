"""Recorders of requests, where configured: access log, body log, spans."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from starlette.types import ASGIApp

from wattline_protocol.wire.service_settings import ServiceSettings
from wattline_runtime.gateway.config import GatewayConfig
from wattline_runtime.gateway.shell import GatewayShell
from wattline_runtime.gateway.telemetry.access_log import AccessLog, Logged
from wattline_runtime.gateway.telemetry.body_log import BodyLog
from wattline_runtime.gateway.telemetry.request_fields import RequestFields

if TYPE_CHECKING:
    from wattline_runtime.gateway.telemetry.spans import Spans

log = structlog.get_logger()


class Recorders:
    """All of them; without any, requests pass unseen."""

    def __init__(self, config: GatewayConfig, *, is_first: bool) -> None:
        """`is_first`: of the gateway's processes; it rotates files. Raises OSError."""
        self._is_first = is_first
        self._access_log: AccessLog | None = None
        self._body_log: BodyLog | None = None
        self._spans = _spans(config.otlp) if config.otlp else None
        if config.access_log:
            path = Path(config.access_log)
            self._access_log = AccessLog(path, config.log_retention_s, rotates=is_first)
        if config.body_log:
            self._body_log = BodyLog(Path(config.body_log), rotates=is_first)

    def around(self, app: ASGIApp, shell: GatewayShell) -> ASGIApp:
        """The app whose requests are recorded."""
        fields = RequestFields(shell)
        if self._access_log is not None or self._body_log is not None:
            app = Logged(app, fields, self._access_log, self._body_log)
        if self._spans is not None:
            app = self._spans.around(app, fields)
        return app

    def change_settings(self, settings: Mapping[str, ServiceSettings]) -> None:
        """Services want these bodies logged."""
        if self._body_log is not None:
            self._body_log.change_settings(settings)
        elif self._is_first and any(its.log_share for its in settings.values()):
            self._is_first = False  # it is said once
            log.warning("bodies_not_logged", why="this gateway has no --body-log")

    async def run(self) -> None:
        """Write, for as long as the gateway lasts."""
        logs = [one.run() for one in (self._access_log, self._body_log) if one is not None]
        try:
            await asyncio.gather(*logs, asyncio.Event().wait())
        finally:
            if self._spans is not None:
                self._spans.close()


def _spans(url: str) -> "Spans":
    from wattline_runtime.gateway.telemetry.spans import Spans

    return Spans(url)
