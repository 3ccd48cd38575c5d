"""Ports of loopback for programs that get theirs before they listen.

A port that the kernel hands out may be anybody's the moment after: each connection that is made
anywhere on the host takes one of the same range. So these lie below that range, and the workers of
a test run draw theirs from different parts.
"""

import os
import random
import socket
from contextlib import ExitStack
from itertools import count
from pathlib import Path

FIRST = 10_000
PER_WORKER = 1_000
WORKERS = 16

_handed_out = count(random.SystemRandom().randrange(PER_WORKER))
"""Of this worker: it begins anywhere, for other runs may be at work on this host."""


def free_ports(wanted: int = 1) -> int:
    """The first of so many ports in a row that nothing listens on; no test gets them again soon."""
    for _ in range(PER_WORKER):
        first = _begin() + next(_handed_out) % (PER_WORKER - wanted)
        if _are_free(range(first, first + wanted)):
            for _ in range(wanted - 1):
                next(_handed_out)
            return first
    raise AssertionError("no free ports")


def _begin() -> int:
    """Where this worker's ports begin: `gw3` is the fourth."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    begin = FIRST + int(worker) % WORKERS * PER_WORKER
    given_out = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    assert begin + PER_WORKER <= int(given_out[0]), "the kernel gives these out by itself"
    return begin


def _are_free(ports: range) -> bool:
    with ExitStack() as stack:
        for port in ports:
            try:
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
