"""Carries out `ActOutOfBand` beside the loop: one task a host, a hard time-out for each.

A host is asked before it is switched off: one that is off already is only confirmed, so a try that
is repeated does no harm. Without an out-of-band way in the site file no thread is started.
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
from wattline_scheduler.shell.async_thread import Aside
from wattline_scheduler.shell.bmc.host_power import Host, Power, host_of
from wattline_scheduler.shell.sensing.sensor_values import ReadingFailed

POLL_S = 0.5
"""How often a host that was switched off is asked whether it is."""

STEPS = 3
"""At least so many answers fit in a time-out: before, the switching off, and after."""

Clock = Callable[[], Instant]
T = TypeVar("T")

log = structlog.get_logger()


class OutOfBandDesk:
    """Switches hosts off, or sees that they are, from `start` to `close`."""

    def __init__(self, site: Site, mono_s: Clock) -> None:
        self._declared: dict[NodeId, OutOfBand] = {
            node.id: node.out_of_band for node in site.nodes if node.out_of_band is not None
        }
        self._mono_s = mono_s
        self._aside = Aside("out_of_band")
        self._lock = threading.Lock()
        self._done: list[OutOfBandDone] = []

    def start(self) -> None:
        """Begin; a site without any way to do so costs nothing."""
        if self._declared:
            self._aside.start()

    def order(self, act: ActOutOfBand) -> None:
        """Begin a try; the core sees to it that there is at most one a node."""
        self._aside.run(lambda: self._try(act), f"{act.node} off")

    def take(self) -> list[OutOfBandDone]:
        """What has come of tries since the last call."""
        with self._lock:
            done, self._done = self._done, []
        return done

    def close(self) -> None:
        """Cancel what is under way; programs are killed. What was switched off stays off."""
        self._aside.close()

    async def _try(self, act: ActOutOfBand) -> None:
        seen_at: Instant | None = None
        why = ""
        try:
            seen_at = await seen_off(
                self._declared[act.node], self._mono_s, power_off=act.power_off
            )
        except ReadingFailed as error:
            why = str(error)
        except Exception as error:
            # A fault of ours with one host must not end the tries on the others.
            log.exception("out_of_band_broken", node=act.node)
            why = f"{type(error).__name__}: {error}"
        with self._lock:
            self._done.append(OutOfBandDone(act.node, act.number, seen_at, why))


async def seen_off(declared: OutOfBand, mono_s: Clock, *, power_off: bool) -> Instant:
    """When the host was asked with the answer that it is off. Raises ReadingFailed."""
    step_s = declared.timeout_s / STEPS
    host = host_of(declared, step_s)
    last = ["nothing was answered"]
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
    """`last`: the newest that is known, for whoever runs out of time."""
    asked_at = mono_s()
    try:
        if await _power(host, step_s) == "off":
            return asked_at
    except ReadingFailed:
        if not power_off:
            raise
    if not power_off:
        raise ReadingFailed("it is said to be on")
    await _within(host.switch_off(), step_s)
    while True:
        asked_at = mono_s()
        try:
            if await _power(host, step_s) == "off":
                return asked_at
            last[0] = "it is still said to be on"
        except ReadingFailed as error:
            last[0] = str(error)
        await asyncio.sleep(POLL_S)


async def _power(host: Host, step_s: float) -> Power:
    return await _within(host.power(), step_s)


async def _within(work: Coroutine[None, None, T], step_s: float) -> T:
    """One step that hangs must leave time for the next."""
    try:
        async with asyncio.timeout(step_s):
            return await work
    except TimeoutError:
        raise ReadingFailed(f"no answer within {step_s:g} s") from None
