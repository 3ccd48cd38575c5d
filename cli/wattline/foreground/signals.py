"""Signals of the client as events in a queue, in the order in which they come."""

import queue
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def queued(events: "queue.SimpleQueue[Any]") -> Iterator[None]:
    """Puts each signal into the queue instead of ending the process. One that is ignored stays
    so: `nohup` ignores SIGHUP."""

    def put(number: int, _: FrameType | None) -> None:
        events.put(signal.Signals(number))

    before = {one: signal.getsignal(one) for one in STOPS}
    for one, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(one, put)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
