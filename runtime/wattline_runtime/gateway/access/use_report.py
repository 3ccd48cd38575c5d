"""Reports the use of API keys, and applies the parts of their rates that come back."""

import asyncio
import secrets
import time
from typing import Protocol

from wattline_protocol.wire.api_keys import ApiKeyShares, ReportApiKeyUse
from wattline_runtime.gateway.access.key_ring import ApiKeyRing

PERIOD_S = 1.0


class UseSink(Protocol):
    """Where reports go; see `RouteSource`."""

    async def report_use(self, report: ReportApiKeyUse) -> ApiKeyShares | None:
        """The parts of the rates, or None without an answer."""


async def report_uses(ring: ApiKeyRing, sink: UseSink) -> None:
    """Report every second, for as long as the gateway lasts. A report without an answer is
    repeated unchanged, so that it counts once; meanwhile the last parts hold."""
    report: ReportApiKeyUse | None = None
    while True:
        ring.begin_day_if_due(time.monotonic())
        if report is None:
            day_unix_s = ring.day.start_unix_s
            report = ReportApiKeyUse(secrets.token_hex(16), ring.take_uses(), day_unix_s)
        answer = await sink.report_use(report)
        if answer is not None:
            ring.divide(answer, time.monotonic())
            report = None
        await asyncio.sleep(PERIOD_S)
