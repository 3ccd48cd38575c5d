"""Readers against a real Prometheus server that scrapes a (simulated) PDU exporter."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.programs.live_scheduler import until
from support.programs.prometheus import is_here, prometheus
from support.programs.sensor_servers import SensorServer, says_bytes, sensor_server
from wattline_protocol.site.sensing import PrometheusSource, Sensor
from wattline_scheduler.shell.sensing.sensor_reader import Reader
from wattline_scheduler.shell.sensing.sensor_values import ReadingFailed

pytestmark = pytest.mark.skipif(
    not is_here(), reason="no prometheus here; on Debian: apt install prometheus"
)

SAMPLES = b"""# HELP pdu_power_watts Draw of an outlet (simulated).
# TYPE pdu_power_watts gauge
pdu_power_watts{pdu="a1",outlet="1"} 1200.5
pdu_power_watts{pdu="a1",outlet="2"} 800
"""


@pytest.fixture
def exporter() -> Iterator[SensorServer]:
    with sensor_server({"/metrics": says_bytes(SAMPLES)}) as server:
        yield server


@pytest.fixture
def server(exporter: SensorServer, tmp_path: Path) -> Iterator[str]:
    with prometheus(tmp_path, exporter.url.removeprefix("http://")) as url:
        yield url


def reported(url: str, query: str, fresh_s: float = 15.0) -> float | str:
    """The value, or why there is none."""

    async def once() -> float | str:
        reader = Reader(Sensor(PrometheusSource(url, query), timeout_s=5.0), "power", fresh_s)
        try:
            return await reader.read()
        except ReadingFailed as error:
            return str(error)
        finally:
            await reader.close()

    return asyncio.run(once())


def test_a_query_gives_one_fresh_value(server: str, exporter: SensorServer) -> None:
    whole = 'sum(pdu_power_watts{pdu="a1"})'
    until(lambda: reported(server, whole) == 2000.5, "the first scrape")
    assert reported(server, "scalar(sum(pdu_power_watts))") == 2000.5
    assert "2 series" in str(reported(server, "pdu_power_watts"))
    assert "no recent sample" in str(reported(server, "pdu_power_wats"))
    assert "the query failed" in str(reported(server, "sum("))
    assert "returns a matrix" in str(reported(server, "pdu_power_watts[1m]"))
    assert "NaN" in str(reported(server, "sum(pdu_power_watts) * NaN")).replace("nan", "NaN")

    # The exporter hangs: its last value must not live on for Prometheus' usual five minutes.
    exporter.routes["/metrics"] = exporter.hangs()
    until(lambda: "recent" in str(reported(server, whole, fresh_s=1.0)), "the value to grow old")


def test_a_server_that_went_away(tmp_path: Path, exporter: SensorServer) -> None:
    with prometheus(tmp_path, exporter.url.removeprefix("http://")) as url:
        pass
    assert "onnect" in str(reported(url, "up"))
