"""Executes `ActOutOfBand` beside the loop: one task a host, a hard time-out for each.

A host is queried before it is switched off: one that is off already is only confirmed, so a
repeated try is harmless. Without out-of-band access in the site file no thread is started.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import TypeVar

import structlog

from wattline_protocol.ids import Instant, NodeId
from wattline_protocol.site.model import Site
from wattline_protocol.site.out_of_band import OutOfBand
from wattline_scheduler.core.model.effects import ActOutOfBand
from wattline_scheduler.core.model.events import OutOfBandDone
from wattline_scheduler.shell.async_thread import AsyncThread
from wattline_scheduler.shell.bmc.host_power import Host, Power, host_of
from wattline_scheduler.shell.sensing.sensor_values import ReadingFailed

POLL_S = 0.5
"""Poll interval of a host that was switched off."""

STEPS = 3
"""Minimum of answers that fit in a time-out: before, the power-off, and after."""


class SeenOn(ReadingFailed):
    """It was queried only, and is on."""


Clock = Callable[[], Instant]
T = TypeVar("T")

log = structlog.get_logger()


class PowerOffRunner:
    """Switches hosts off, or confirms that they are off, from `start` to `close`."""

    def __init__(self, site: Site, mono_s: Clock) -> None:
        self._declared: dict[NodeId, OutOfBand] = {
            node.id: node.out_of_band for node in site.nodes if node.out_of_band is not None
        }
        self._mono_s = mono_s
        self._thread = AsyncThread("out_of_band")
        self._lock = threading.Lock()
        self._done: list[OutOfBandDone] = []

    def start(self) -> None:
        """Start; no cost for a site without out-of-band access."""
        if self._declared:
            self._thread.start()

    def order(self, act: ActOutOfBand) -> None:
        """Begin a try; the core ensures that there is at most one per node."""
        self._thread.run(lambda: self._try(act), f"{act.node} off")

    def take(self) -> list[OutOfBandDone]:
        """Results of tries since the last call."""
        with self._lock:
            done, self._done = self._done, []
        return done

    def close(self) -> None:
        """Cancel tries under way; programs are killed. Hosts switched off stay off."""
        self._thread.close()

    async def _try(self, act: ActOutOfBand) -> None:
        seen_at: Instant | None = None
        why, is_on = "", False
        try:
            seen_at = await seen_off(
                self._declared[act.node], self._mono_s, power_off=act.power_off
            )
        except SeenOn as error:
            why, is_on = str(error), True
        except ReadingFailed as error:
            why = str(error)
        except Exception as error:
            # A bug with one host must not end the tries on the others.
            log.exception("out_of_band_broken", node=act.node)
            why = str(ReadingFailed(f"{type(error).__name__}: {error}"))
        with self._lock:
            self._done.append(OutOfBandDone(act.node, act.number, seen_at, why, is_on))


async def seen_off(declared: OutOfBand, mono_s: Clock, *, power_off: bool) -> Instant:
    """When the query was sent whose answer was off. Raises ReadingFailed,
    or SeenOn where it is only queried."""
    step_s = declared.timeout_s / STEPS
    host = host_of(declared, step_s)
    last = ["no answer"]
    try:
        async with asyncio.timeout(declared.timeout_s):
            return await _off(host, mono_s, step_s, last, power_off=power_off)
    except TimeoutError:
        raise ReadingFailed(f"not off within {declared.timeout_s:g} s: {last[0]}") from None
    finally:
        await host.close()


async def _off(
    host: Host, mono_s: Clock, step_s: float, last: list[str], *, power_off: bool
) -> Instant:
    """`last`: receives the newest state, for an error message after a time-out."""
    asked_at = mono_s()
    try:
        if await _power(host, step_s) == "off":
            return asked_at
    except ReadingFailed:
        if not power_off:
            raise
    if not power_off:
        raise SeenOn("its power state is on")
    await _within(host.switch_off(), step_s)
    while True:
        asked_at = mono_s()
        try:
            if await _power(host, step_s) == "off":
                return asked_at
            last[0] = "its power state is still on"
        except ReadingFailed as error:
            last[0] = str(error)
        await asyncio.sleep(POLL_S)


async def _power(host: Host, step_s: float) -> Power:
    return await _within(host.power(), step_s)


async def _within(work: Coroutine[None, None, T], step_s: float) -> T:
    """Time limit of one step, so that a hang leaves time for the next."""
    try:
        async with asyncio.timeout(step_s):
            return await work
    except TimeoutError:
        raise ReadingFailed(f"no answer within {step_s:g} s") from None
