"""Time slices: long computations that yield between parts, to give other requests a turn."""

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

Parts = Generator[None, None, T]
"""A part takes a few milliseconds at most, unless stated otherwise."""


def at_once(parts: Parts[T]) -> T:
    """Runs all parts without a break and returns the result."""
    while True:
        try:
            next(parts)
        except StopIteration as found:
            whole: T = found.value
            return whole
