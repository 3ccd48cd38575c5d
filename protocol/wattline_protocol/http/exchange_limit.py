"""Limit of a whole exchange over a socket: its own timeout is that of each byte of an answer."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress


@contextmanager
def shut_down_after(
    limit_s: float, connection: socket.socket, is_late: threading.Event | None = None
) -> Iterator[None]:
    """Shuts the connection down at the limit, and sets the event before. It may be wrapped in TLS
    meanwhile, which takes its descriptor over."""
    with closing(connection.dup()) as same:

        def shut_down() -> None:
            if is_late is not None:
                is_late.set()
            with suppress(OSError):  # its peer has ended it
                same.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(limit_s, shut_down)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
