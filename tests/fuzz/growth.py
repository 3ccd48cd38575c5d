"""CPU time that a parser takes for large input, and how that grows with its size."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fuzz.targets import Target, feed

SIZES_BYTES = (64 * 1024, 256 * 1024, 1024 * 1024)
LIMIT_S = 0.2
"""For at most a mebibyte."""

SLACK = 1.5
"""Times the linear growth that a noisy machine may show; a square would show 16."""

TINY_S = 0.002
"""Below this nothing can be said of growth."""

REPEATS = 2


@dataclass(frozen=True)
class Cost:
    """The least CPU time of a few runs, by size."""

    target: str
    shape: str
    cpu_s: tuple[float, ...]

    @property
    def problem(self) -> str:
        """What is wrong with it; empty = nothing."""
        small_s, large_s = self.cpu_s[0], self.cpu_s[-1]
        if large_s > LIMIT_S:
            return f"takes {large_s:.3f} s of CPU for 1 MiB, at most {LIMIT_S} s are allowed"
        linear_s = max(small_s, TINY_S) * SIZES_BYTES[-1] / SIZES_BYTES[0]
        if large_s > SLACK * linear_s:
            return f"grows from {small_s:.4f} to {large_s:.4f} s of CPU over 16 times the size"
        return ""


def shapes(target: Target) -> Iterator[tuple[str, bytes]]:
    """What is repeated up to a size: whole samples, and what parsers nest or join by."""
    if target.is_one_input:
        yield from ((f"seed {n}", seed) for n, seed in enumerate(target.seeds))
    for piece in (b"[", b"{", b"\x91", b"\x81\xa1a", b'"', b"a", b",", b"1-2,", b"\x1b[1m", b"\n"):
        yield repr(piece), piece
    yield "dotted keys", b"a.b.c.d.e = 1\n"
    yield "headers", b"X-Forwarded-For: 10.0.0.1, 10.0.0.2\r\n"
    yield "nested tables", b"[a.a.a.a]\n"
    yield "nested inline tables", b"a = {a = "


def measure(target: Target) -> Iterable[Cost]:
    """Each shape at each size."""
    for name, piece in shapes(target):
        yield Cost(target.name, name, tuple(_least_s(target, piece, size) for size in SIZES_BYTES))


def _least_s(target: Target, piece: bytes, size: int) -> float:
    data = (piece * (size // len(piece) + 1))[:size]
    return min(_cpu_s(target, data) for _ in range(REPEATS))


def _cpu_s(target: Target, data: bytes) -> float:
    began_s = time.process_time()
    feed(target, data)
    return time.process_time() - began_s
