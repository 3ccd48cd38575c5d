"""Messages between the parent of a gateway and its processes, over a UNIX socket each.

What a process has sent arrives even if it is killed right after.
"""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Any, Generic, Literal, TypeVar

import msgspec
import structlog

from wattline_protocol.wire.api_keys import ApiKeyShares, ReportApiKeyUse
from wattline_protocol.wire.rollouts import GatewayReport
from wattline_protocol.wire.routes import Routes
from wattline_runtime.gateway.config import Endpoints, GatewayConfig
from wattline_runtime.gateway.telemetry.snapshot import Snapshot

log = structlog.get_logger()


class Begin(msgspec.Struct, frozen=True, tag=True):
    """First message to a process."""

    config: GatewayConfig
    number: int
    clients: tuple[int, ...]
    """Descriptors of the sockets for clients that it accepts from."""
    spare: tuple[tuple[int, int], ...]
    """Those of other processes, which it accepts from while they are down: their number, and the
    descriptor."""
    workers: int
    """Descriptor of its socket for workers."""
    ports: tuple[int, ...]
    """Where each process listens for workers."""
    is_lasting: bool
    ready_workers: int | None
    """Workers to have before it accepts clients; None: it succeeds no other gateway."""


class Newest(msgspec.Struct, frozen=True, tag=True):
    """Routes, and when they were received (monotonic)."""

    routes: Routes
    heard_s: float


class Granted(msgspec.Struct, frozen=True, tag=True):
    """Answer to a report of API keys."""

    shares: ApiKeyShares


class Accept(msgspec.Struct, frozen=True, tag=True):
    """The gateway that ran before accepts no more clients."""


class StandIn(msgspec.Struct, frozen=True, tag=True):
    """Processes that are down: accept from their sockets as well."""

    down: tuple[int, ...]


class HandOver(msgspec.Struct, frozen=True, tag=True):
    """A successor has begun, is ready (leave), or has ended."""

    phase: Literal["begun", "ready", "ended"]


class Observe(msgspec.Struct, frozen=True, tag=True):
    """Send a snapshot."""


class Total(msgspec.Struct, frozen=True, tag=True):
    """Answer to Ask: all processes as one."""

    number: int
    snapshot: Snapshot


ToProcess = Begin | Newest | Granted | Accept | StandIn | HandOver | Observe | Total


class CaughtUp(msgspec.Struct, frozen=True, tag=True):
    """Routes and workers are there: ready to replace the gateway that runs."""


class Serving(msgspec.Struct, frozen=True, tag=True):
    """It accepts clients."""

    endpoints: Endpoints


class Observed(msgspec.Struct, frozen=True, tag=True):
    """A snapshot, whenever something was counted, and when it is asked for."""

    snapshot: Snapshot
    movable: int
    is_asked: bool


class Used(msgspec.Struct, frozen=True, tag=True):
    """Use of API keys since its last report."""

    report: ReportApiKeyUse


class Reported(msgspec.Struct, frozen=True, tag=True):
    """Traffic of revisions since its last report, a rise of it, or clients that it restrains."""

    report: GatewayReport


class Ask(msgspec.Struct, frozen=True, tag=True):
    """A client asks for all processes."""

    number: int


class Failed(msgspec.Struct, frozen=True, tag=True):
    """It cannot start; the text says why."""

    text: str


FromProcess = CaughtUp | Serving | Observed | Used | Reported | Ask | Failed

M = TypeVar("M")
CLOSE_S = 1.0
_LENGTH = struct.Struct("<I")


class Channel(Generic[M]):
    """One end; receives `M`."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, union: Any
    ) -> None:
        self._reader, self._writer = reader, writer
        self._decoder: msgspec.msgpack.Decoder[M] = msgspec.msgpack.Decoder(union)
        self._encoder = msgspec.msgpack.Encoder()

    def send(self, message: ToProcess | FromProcess) -> None:
        """Queue a message; lost where the other end is."""
        if not self._writer.is_closing():
            data = self._encoder.encode(message)
            self._writer.write(_LENGTH.pack(len(data)) + data)

    async def receive(self) -> M | None:
        """The next message; None: the other end is closed. One out of its bounds is left out, as
        the scheduler would refuse it: a count that cannot be true does not end the gateway."""
        while True:
            try:
                (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
                data = await self._reader.readexactly(length)
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
            try:
                return self._decoder.decode(data)
            except msgspec.ValidationError as error:
                log.error("gateway_message_left_out", detail=str(error))

    def close(self) -> None:
        """End the connection; what was sent is still on its way."""
        self._writer.close()

    async def closed(self) -> None:
        """End the connection once all was sent; waits a second at most."""
        self._writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._writer.wait_closed()


async def open_channel(connection: socket.socket, union: Any) -> Channel[Any]:
    """The end at `connection`."""
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    return Channel(reader, writer, union)
