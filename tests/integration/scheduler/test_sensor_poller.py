"""All sensors of a site at once: events of each, nobody waits for one that hangs."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from support.core.sites import site
from support.programs.live_scheduler import SchedulerProcess, SiteDirectory, WireClient, until
from support.programs.sensor_servers import SIMULATED_OUTLET, SensorServer, says, sensor_server
from wattline_protocol.ids import DomainId
from wattline_protocol.site.model import Site
from wattline_protocol.site.sensing import (
    CommandSource,
    Meter,
    OutsidePoint,
    Plant,
    RedfishSource,
    Sensor,
    Source,
)
from wattline_protocol.wire.client_messages import Events, ListEvents
from wattline_scheduler.core.model.events import DomainMetered, ZoneSensed
from wattline_scheduler.shell.sensing.sensor_poller import SensorEvent, SensorPoller

PDU_A, PDU_B, ROOM = DomainId("pdu-a"), DomainId("pdu-b"), DomainId("room")


@pytest.fixture
def server() -> Iterator[SensorServer]:
    with sensor_server() as running:
        yield running


def sensor(source: Source, timeout_s: float = 5.0) -> Sensor:
    return Sensor(source, period_s=timeout_s, timeout_s=timeout_s)


def printing(code: str) -> CommandSource:
    return CommandSource((sys.executable, "-c", code))


def with_sensors(meters: dict[DomainId, Meter], plant: Plant | None = None) -> Site:
    built = site().rack("a", 1).rack("b", 1).build()
    domains = tuple(
        msgspec.structs.replace(d, meter=meters.get(d.id), plant=plant if d.id == ROOM else None)
        for d in built.domains
    )
    return msgspec.structs.replace(built, domains=domains)


def test_each_sensor_makes_its_event(server: SensorServer, tmp_path: Path) -> None:
    server.routes |= {"/a": says(SIMULATED_OUTLET), "/b": server.hangs()}
    weather = tmp_path / "w.csv"
    weather.write_text("month,day,hour,outside_c\n1,1,0,31.5\n")
    quick = Meter(sensor(RedfishSource(f"{server.url}/a")))
    hangs = Meter(sensor(RedfishSource(f"{server.url}/b"), timeout_s=0.3))
    plant = Plant(
        units=3,
        unit_mw=30_000_000,
        units_sensor=sensor(printing("print(2)")),
        capacity_at=(OutsidePoint(35.0, 1000),),
        weather_file=str(weather),
    )
    seen: list[SensorEvent] = []
    poller = SensorPoller(with_sensors({PDU_A: quick, PDU_B: hangs}, plant), lambda: 0.0)
    poller.start()
    try:
        wanted = [
            DomainMetered(PDU_A, 3_412_500),
            DomainMetered(PDU_B, None, "no answer within 0.3 s"),
            ZoneSensed(ROOM, 2, None),
            ZoneSensed(ROOM, None, 31.5),
        ]

        def saw_all() -> bool:
            seen.extend(poller.take())
            return all(event in seen for event in wanted)

        until(saw_all, f"{wanted}")
    finally:
        poller.close()


def test_a_hanging_sensor_has_one_reading_outstanding(server: SensorServer) -> None:
    server.routes["/b"] = server.hangs()
    hangs = Meter(sensor(RedfishSource(f"{server.url}/b"), timeout_s=60.0))
    poller = SensorPoller(with_sensors({PDU_B: hangs}), time.time)
    poller.start()
    until(lambda: server.asked, "the first reading")
    poller.close()
    assert server.asked == ["/b"]
    assert poller.take() == []


def test_a_site_without_sensors_starts_no_thread() -> None:
    poller = SensorPoller(with_sensors({}), time.time)
    poller.start()
    poller.close()
    assert poller.take() == []


def test_a_running_scheduler_reads_its_meters(server: SensorServer, tmp_path: Path) -> None:
    server.routes["/b"] = server.hangs()
    broken = Meter(sensor(printing("import sys; sys.exit('no such outlet')")), stale_after_s=5.0)
    hangs = Meter(sensor(RedfishSource(f"{server.url}/b"), timeout_s=0.5), stale_after_s=3.0)
    directory = SiteDirectory(tmp_path / "site", with_sensors({PDU_A: broken, PDU_B: hangs}))
    with (
        SchedulerProcess(directory.path, tmp_path / "state").ready() as scheduler,
        WireClient(directory.bundle("ada")).welcomed() as client,
    ):

        def reported() -> str:
            answer = client.ask(ListEvents())
            assert isinstance(answer, Events)
            return "\n".join(event.text for event in answer.events)

        until(lambda: "pdu-a" in reported() and "no such outlet" in reported(), "the first failure")
        until(
            lambda: "pdu-b" in reported() and "no answer within 0.5 s" in reported(),
            "the second one",
        )
        assert scheduler.stop() == 0
