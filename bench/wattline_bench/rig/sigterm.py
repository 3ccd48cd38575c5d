"""SIGTERM ends a benchmark as an error does, so that it stops what it has started."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def exit_at_sigterm() -> Iterator[None]:
    """Raises SystemExit in the block, with the status that shells give a signal."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
