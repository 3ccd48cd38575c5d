"""A connection of uvicorn over a transport in memory, as the gateway has it."""

import asyncio
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from wattline_runtime.gateway.connections.http_protocol import http_protocol

FAST = http_protocol()


class Memory(asyncio.Transport):
    """Takes what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.2", 1), "sockname": ("127.0.0.1", 80)})
        self.writes: list[bytes] = []
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


async def connected(app: Any, protocol: type[Any] = FAST) -> tuple[Any, Memory]:
    """A connection of a client."""
    config = uvicorn.Config(
        app, http=protocol, lifespan="off", server_header=False, date_header=False, access_log=False
    )
    config.load()
    made, transport = protocol(config, ServerState(), {}), Memory()
    made.connection_made(transport)
    return made, transport


async def turns() -> None:
    for _ in range(6):
        await asyncio.sleep(0)
