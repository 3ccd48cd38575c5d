"""Time slices: long computations that yield between parts, to give other requests a turn."""

from collections.abc import Callable, Generator
from typing import TypeVar

A = TypeVar("A")
T = TypeVar("T")

Parts = Generator[None, None, T]
"""A part takes a few milliseconds at most, unless stated otherwise."""


def in_one_part(make: Callable[[A], T], of: A) -> Parts[T]:
    """`make(of)`, as parts."""
    yield from ()
    return make(of)


def go_on(parts: Parts[T], is_over: Callable[[], bool]) -> T | None:
    """Runs parts, one at least, until time is over; the result, or None if some are left."""
    try:
        next(parts)
        while not is_over():
            next(parts)
    except StopIteration as found:
        whole: T = found.value
        return whole
    return None


def at_once(parts: Parts[T]) -> T:
    """Runs all parts without a break and returns the result."""
    while True:
        try:
            next(parts)
        except StopIteration as found:
            whole: T = found.value
            return whole
