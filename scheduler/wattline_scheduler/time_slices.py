"""Long work in parts: it yields where others may have their turn, and returns what it found."""

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

Parts = Generator[None, None, T]
"""A part takes a few milliseconds at most, where nothing else is said."""


def at_once(parts: Parts[T]) -> T:
    """All of them, one after the other."""
    while True:
        try:
            next(parts)
        except StopIteration as found:
            whole: T = found.value
            return whole
