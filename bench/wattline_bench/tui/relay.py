"""A relay of TCP connections to the scheduler that counts bytes; what is inside is encrypted."""

import asyncio
from threading import Thread
from urllib.parse import urlsplit

CHUNK_BYTES = 1 << 16


class Relay:
    """Listens on a port of its own, in a thread."""

    def __init__(self, endpoint: str) -> None:
        target = urlsplit(endpoint)
        self._target = (target.hostname, target.port)
        self.bytes_to_client = 0
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0)
        )
        port = self._server.sockets[0].getsockname()[1]
        self.endpoint = f"tcp://127.0.0.1:{port}"
        self._thread = Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._target)
        out = asyncio.create_task(self._pump(reader, back, is_counted=False))
        await self._pump(there, writer, is_counted=True)
        await out

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_counted: bool
    ) -> None:
        try:
            while data := await source.read(CHUNK_BYTES):
                self.bytes_to_client += len(data) if is_counted else 0
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass  # one side has ended: so does the other
        finally:
            sink.close()

    def close(self) -> None:
        """End all connections."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
