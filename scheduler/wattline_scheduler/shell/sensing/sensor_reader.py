"""One sensor: each call of `read` returns its value or raises the reason."""

import asyncio
from typing import TYPE_CHECKING, Literal

from wattline_protocol.site.sensing import CommandSource, PrometheusSource, RedfishSource, Sensor
from wattline_scheduler.shell.sensing import sensor_values
from wattline_scheduler.shell.sensing.command_output import output_of
from wattline_scheduler.shell.sensing.sensor_values import OK, ReadingFailed

if TYPE_CHECKING:
    from wattline_scheduler.shell.sensing.http_client import HttpClient

Quantity = Literal["power", "number"]
"""Searched for in a Redfish resource without a pointer: watts, or any Sensor's reading."""

QUERY_ANSWERS = (OK, 400, 422, 503)
"""Statuses with which a Prometheus server returns the query's result as JSON."""


class Reader:
    """Reads one sensor. Not for two readings at a time."""

    def __init__(self, sensor: Sensor, quantity: Quantity, fresh_s: float) -> None:
        """`fresh_s`: maximum age of the samples behind a value, where the source supports it."""
        self.sensor = sensor
        self._quantity = quantity
        self._fresh_s = fresh_s
        self._web: HttpClient | None = None

    async def read(self) -> float:
        """The value, scaled. Raises ReadingFailed, also when it takes longer than its time-out."""
        limit_s = self.sensor.timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return sensor_values.finite(await self._raw() * self.sensor.scale)
        except TimeoutError:
            raise ReadingFailed(f"no answer within {limit_s:g} s") from None

    async def close(self) -> None:
        """Close its connection, if it has one."""
        if self._web is not None:
            await self._web.close()

    async def _raw(self) -> float:
        source = self.sensor.source
        match source:
            case CommandSource():
                return await self._by_command(source)
            case PrometheusSource():
                return await self._by_query(source)
            case RedfishSource():
                return await self._by_resource(source)

    async def _by_command(self, source: CommandSource) -> float:
        printed = await output_of(source.argv)
        if source.pointer:
            return sensor_values.number_at(sensor_values.document(printed), source.pointer)
        return sensor_values.plain_number(printed.decode("utf-8", errors="replace"))

    async def _by_query(self, source: PrometheusSource) -> float:
        url = f"{source.url.rstrip('/')}/api/v1/query"
        params = {
            "query": source.query,
            "timeout": f"{self.sensor.timeout_s:g}s",
            # Without it a series that is no longer scraped keeps its last value for 5 minutes.
            "lookback_delta": f"{self._fresh_s:g}s",
        }
        status, body = await self._over_web(source).get(url, params)
        if status not in QUERY_ANSWERS:
            raise ReadingFailed(sensor_values.refusal(status, body))
        return sensor_values.prometheus_number(sensor_values.document(body))

    async def _by_resource(self, source: RedfishSource) -> float:
        status, body = await self._over_web(source).get(source.url)
        if status != OK:
            raise ReadingFailed(sensor_values.refusal(status, body))
        found = sensor_values.document(body)
        if source.pointer:
            return sensor_values.number_at(found, source.pointer)
        if self._quantity == "power":
            return sensor_values.redfish_power_w(found)
        return sensor_values.redfish_number(found)

    def _over_web(self, source: PrometheusSource | RedfishSource) -> "HttpClient":
        if self._web is None:
            from wattline_scheduler.shell.sensing.http_client import HttpClient

            self._web = HttpClient(source.access, self.sensor.timeout_s)
        return self._web
