"""Polls all sensors of a site beside the loop: a sensor that hangs cannot delay a lease.

One thread with its own event loop, with one task per sensor: a sensor has at most one reading
outstanding and waits for no other. Each reading is stored in the sensor's slot, the newest in place
of an older one, until the scheduler's loop takes it. Without sensors no thread is started.
"""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from wattline_protocol.ids import DomainId
from wattline_protocol.site.model import Site
from wattline_protocol.site.sensing import USUAL_STALE_PERIODS, Meter, Plant, Sensor
from wattline_scheduler.core.model.events import DomainMetered, ZoneSensed
from wattline_scheduler.shell.async_thread import AsyncThread
from wattline_scheduler.shell.sensing.sensor_reader import Quantity, Reader
from wattline_scheduler.shell.sensing.sensor_values import ReadingFailed
from wattline_scheduler.shell.sensing.weather import Weather, read_weather

SensorEvent = DomainMetered | ZoneSensed
Slot = tuple[DomainId, str]

WEATHER_PERIOD_S = 60.0
"""Outside temperature from a file changes by the hour."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PolledSensor:
    """A sensor, and the event that its value becomes."""

    slot: Slot
    reader: Reader
    event: Callable[[float], SensorEvent]
    failed: Callable[[str], SensorEvent]


class SensorPoller:
    """Reads every sensor of the site at its own interval from `start` to `close`."""

    def __init__(self, site: Site, unix_s: Callable[[], float]) -> None:
        self._watched = polled_sensors(site)
        self._weather_files = {
            d.id: Path(d.plant.weather_file)
            for d in site.domains
            if d.plant is not None and d.plant.weather_file
        }
        self._unix_s = unix_s
        self._lock = threading.Lock()
        self._found: dict[Slot, SensorEvent] = {}
        self._thread = AsyncThread("sensing")

    def start(self) -> None:
        """Start reading; no cost for a site without sensors."""
        if not self._watched and not self._weather_files:
            return
        self._thread.start()
        for polled in self._watched:
            self._thread.run(partial(self._poll, polled), str(polled.slot))
        for zone, path in self._weather_files.items():
            self._thread.run(partial(self._poll_weather, zone, path), f"weather of {zone}")

    def take(self) -> list[SensorEvent]:
        """Readings since the last call: at most one event a sensor."""
        with self._lock:
            found, self._found = self._found, {}
        return list(found.values())

    def close(self) -> None:
        """Stop reading; readings under way are cancelled, programs are killed."""
        self._thread.close()

    def _put(self, slot: Slot, event: SensorEvent) -> None:
        with self._lock:
            self._found[slot] = event

    # --- in the thread --------------------------------------------------------------------

    async def _poll(self, polled: PolledSensor) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        try:
            while True:
                self._put(polled.slot, await _reading(polled))
                # A slow reading does not cause a burst of later ones.
                due = max(due + polled.reader.sensor.period_s, loop.time())
                await asyncio.sleep(due - loop.time())
        finally:
            await polled.reader.close()

    async def _poll_weather(self, zone: DomainId, path: Path) -> None:
        weather: Weather | None = None
        while True:
            try:
                weather = weather or read_weather(path)
                event = ZoneSensed(zone, None, weather.outside_c(self._unix_s()))
            except ReadingFailed as error:
                event = ZoneSensed(zone, None, None, str(error))
            self._put((zone, "outside"), event)
            await asyncio.sleep(WEATHER_PERIOD_S)


async def _reading(polled: PolledSensor) -> SensorEvent:
    try:
        return polled.event(await polled.reader.read())
    except ReadingFailed as error:
        return polled.failed(str(error))
    except Exception as error:
        # A bug in reading one sensor must not stop the others.
        log.exception("reading_broken", sensor=polled.slot)
        return polled.failed(str(ReadingFailed(f"{type(error).__name__}: {error}")))


def polled_sensors(site: Site) -> list[PolledSensor]:
    """Every sensor that the site file declares."""
    polled: list[PolledSensor] = []
    for domain in site.domains:
        if domain.meter is not None:
            polled.append(_meter(domain.id, domain.meter))
        if domain.plant is not None:
            polled += _plant(domain.id, domain.plant)
    return polled


def _meter(domain: DomainId, meter: Meter) -> PolledSensor:
    return PolledSensor(
        slot=(domain, "meter"),
        reader=Reader(meter.sensor, "power", meter.stale_after_s),
        event=lambda watts: DomainMetered(domain, round(watts * 1000)),
        failed=lambda why: DomainMetered(domain, None, why),
    )


def _plant(zone: DomainId, plant: Plant) -> list[PolledSensor]:
    polled: list[PolledSensor] = []
    if plant.units_sensor is not None:
        polled.append(
            PolledSensor(
                slot=(zone, "units"),
                reader=_reader(plant.units_sensor, "number"),
                event=lambda units: ZoneSensed(zone, int(units), None),
                failed=lambda why: ZoneSensed(zone, None, None, f"units in service: {why}"),
            )
        )
    if plant.outside_sensor is not None:
        polled.append(
            PolledSensor(
                slot=(zone, "outside"),
                reader=_reader(plant.outside_sensor, "number"),
                event=lambda outside_c: ZoneSensed(zone, None, outside_c),
                failed=lambda why: ZoneSensed(zone, None, None, f"outside temperature: {why}"),
            )
        )
    return polled


def _reader(sensor: Sensor, quantity: Quantity) -> Reader:
    return Reader(sensor, quantity, sensor.period_s * USUAL_STALE_PERIODS)
