"""Clients of the burst: requests at a rate that may change, each counted from when it was due."""

import http.client
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from wattline.demo.load import Image, ServiceClient

CONNECTIONS = 48
"""Requests at a time at most; a later one waits, and that counts as its time."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `problem`: why it failed; empty = answered."""

    due_s: float
    """Monotonic."""
    took_s: float
    problem: str = ""


class Clients:
    """They arrive by chance (Poisson), from the first rate on until `stop`."""

    def __init__(self, address: str, service: str, key: str, images: Sequence[Image]) -> None:
        self._to, self._images = (address, service, key), images
        self._random = random.Random(1)
        self._turn, self._lock = threading.Lock(), threading.Lock()
        self._is_over = threading.Event()
        self._rate_per_s = self._due_s = 0.0
        self._number = 0
        self._done: list[Asked] = []
        names = (f"client-{number}" for number in range(CONNECTIONS))
        self._threads = [threading.Thread(target=self._ask, name=name) for name in names]

    def set_rate(self, rate_per_s: float) -> float:
        """From now on, and since when."""
        self._rate_per_s = rate_per_s
        if not self._due_s:
            self._due_s = time.monotonic()
            for thread in self._threads:
                thread.start()
        return time.monotonic()

    def done(self) -> list[Asked]:
        """All requests so far that have ended."""
        with self._lock:
            return list(self._done)

    def stop(self) -> None:
        """Send no more; returns when all are answered."""
        self._is_over.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _ask(self) -> None:
        client = ServiceClient(*self._to)
        while (turn := self._next()) is not None:
            number, due_s = turn
            problem = ""
            try:
                client.digit(self._images[number % len(self._images)])
            except (OSError, ValueError, http.client.HTTPException) as error:
                problem = str(error)
            with self._lock:
                self._done.append(Asked(due_s, time.monotonic() - due_s, problem))
        client.close()

    def _next(self) -> tuple[int, float] | None:
        """Waits until the next request is due: its number and that time; None at the end."""
        with self._turn:
            self._due_s += self._random.expovariate(self._rate_per_s)
            if self._is_over.wait(max(0.0, self._due_s - time.monotonic())):
                return None
            self._number += 1
            return self._number, self._due_s
